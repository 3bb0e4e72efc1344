"""Feature sets as conf or Python declares them."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from matchlake.features.index_layouts import SPARSE_COLUMN
from matchlake.features.kinds import Feature
from matchlake.features.names import Names
from matchlake.params import Params

PLAIN_NAME = r"^[A-Za-z_][A-Za-z0-9_]{0,99}$"
"""Names that `check_name` takes, short enough for a prefix and a suffix."""
FeatureName = Annotated[str, Field(pattern=PLAIN_NAME)]


class FeatureSet(Params):
    """Named features of the columns of one table, in the order of their output columns."""

    name: str = Field(pattern=PLAIN_NAME)
    """The name of the set in tables and files."""
    keys: tuple[str, ...] = ()
    """Columns that pass through unchanged, before the features."""
    features: dict[FeatureName, Feature] = Field(min_length=1)
    """The features by name. The output column has this name, or a name that starts with it."""

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
