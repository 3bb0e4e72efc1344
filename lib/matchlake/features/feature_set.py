"""Feature sets as conf or Python declares them."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Self

from pydantic import Field, field_validator, model_validator

from matchlake.features.index_layouts import SPARSE_COLUMN
from matchlake.features.kinds import Feature
from matchlake.features.names import Names
from matchlake.params import Params

PLAIN_NAME = r"^[A-Za-z_][A-Za-z0-9_]{0,99}$"
"""Names that `check_name` takes, short enough for a prefix and a suffix."""
_NUMBERED = re.compile(r"(\w+)\[(\d{1,5})-(\d{1,5})\]")
FeatureName = Annotated[str, Field(pattern=PLAIN_NAME)]


class FeatureSet(Params):
    """Named features of the columns of one table, in the order of their output columns."""

    name: str = Field(pattern=PLAIN_NAME)
    """The name of the set in tables and files."""
    keys: tuple[str, ...] = ()
    """Columns that pass through unchanged, before the features."""
    features: dict[FeatureName, Feature] = Field(min_length=1)
    """The features by name. The output column has this name, or a name that starts with it.
    `embedding_[0-63]` declares 64 equal features, `embedding_0` to `embedding_63`."""

    @field_validator("features", mode="before")
    @classmethod
    def _expand_numbered(cls, features: Any) -> Any:
        if not isinstance(features, Mapping):
            return features
        pairs = [pair for name, feature in features.items() for pair in _expanded(name, feature)]
        counts = Counter(name for name, _ in pairs)
        twice = [name for name, count in counts.items() if count > 1]
        if twice:
            raise ValueError(f"{twice[0]} is declared twice")
        return dict(pairs)

    @model_validator(mode="after")
    def _check_names(self) -> Self:
        names = Names()
        further = [
            fixed
            for name, each in self.features.items()
            for fixed in each.fixed_names(name)
            if fixed != name
        ]
        for name in (*self.keys, *self.features, *further):
            if not names.reserve(name):
                raise ValueError(f"{name}: another key or feature already has this name")
        for key in self.keys:
            if ":" in key or key.casefold() == SPARSE_COLUMN:
                raise ValueError(
                    f"{key}: a key cannot be called {SPARSE_COLUMN}, the column of the sparse "
                    "layout, and cannot have a colon, which marks columns between stages"
                )
        return self

    def fixed_names(self) -> list[str]:
        """The output columns that have the same names at every fit."""
        features = self.features.items()
        return [fixed for name, each in features for fixed in each.fixed_names(name)]

    def column(self, name: str) -> str:
        """The source column of the feature `name`."""
        return self.features[name].column or name


def _expanded(name: Any, feature: Any) -> Iterator[tuple[Any, Any]]:
    """The features that a name with a range stands for; a name without one stands for itself."""
    found = _NUMBERED.fullmatch(name) if isinstance(name, str) else None
    if found is None:
        yield name, feature
        return
    first, last = int(found[2]), int(found[3])
    if first > last:
        raise ValueError(f"{name}: the range begins after its end")
    is_mapping = isinstance(feature, Mapping)
    if feature.get("column") if is_mapping else getattr(feature, "column", None):
        raise ValueError(f"{name}: features of a range read the columns with their own names")
    for number in range(first, last + 1):
        yield f"{found[1]}{number}", feature
