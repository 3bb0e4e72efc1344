"""Feature sets as conf or Python declares them."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from matchlake.features.categories import MultiHot, OneHot
from matchlake.features.names import Names
from matchlake.features.numbers import AnyNumber
from matchlake.features.scaling import NumberFeature
from matchlake.features.sparse import SPARSE_COLUMN
from matchlake.params import Params
from matchlake.schemas import TableName

Feature = Annotated[OneHot | MultiHot | AnyNumber, Field(discriminator="kind")]
PLAIN_NAME = r"^[A-Za-z_][A-Za-z0-9_]{0,99}$"
"""What `check_name` takes, with room for what is put before and behind."""
FeatureName = Annotated[str, Field(pattern=PLAIN_NAME)]


class FeatureSet(Params):
    """Named features over the columns of one table, in the order of their output columns."""

    name: str = Field(pattern=PLAIN_NAME)
    """Names the set in tables and files."""
    keys: tuple[str, ...] = ()
    """Columns that pass through as they are, before the features."""
    features: dict[FeatureName, Feature] = Field(min_length=1)
    """The features by name; the name is the output column's, or its first part."""

    @model_validator(mode="after")
    def _check_names(self) -> Self:
        names = Names()
        flags = self.flags()
        for name in (*self.keys, *self.features, *flags):
            if not names.reserve(name):
                raise ValueError(f"{name}: a key or feature of this name is there already")
        for key in self.keys:
            if ":" in key or key.casefold() == SPARSE_COLUMN:
                raise ValueError(
                    f"{key}: a key is not called {SPARSE_COLUMN}, which the sparse layout gives, "
                    "and has no colon, which columns between stages have"
                )
        return self

    def numbers(self) -> list[str]:
        """The names of the numeric features."""
        return [name for name, each in self.features.items() if isinstance(each, NumberFeature)]

    def flags(self) -> list[str]:
        """The columns that flag missing numbers."""
        chosen = self.features.items()
        return [f"{n}_null" for n, f in chosen if isinstance(f, NumberFeature) and f.flag_nulls]

    def column(self, name: str) -> str:
        """The table's column that the feature `name` reads."""
        return self.features[name].column or name


class FeatureTable(Params):
    """A gold table of features: the table it is made from and the features it has."""

    source: TableName
    """The table it is made from, one row an entity."""
    table: TableName
    """The table it is written to."""
    comment: str
    """What the table holds, for those who find it in the catalog."""
    features: FeatureSet
    layout: Literal["columns", "sparse", "slots"] = "columns"
    """`columns`: one for each number and category; `sparse`: one of indices and values for them
    all; `slots`: one for each number, and one a feature that says which category it is."""
    split_by: str | None = None
    """A key of the set by which the table is partitioned, so that the rows of each of its values
    lie apart and can be read alone; all are written in one pass. An empty text is refused."""
    required: bool = True
    """Fail where the source is missing or empty; false: warn and leave the table out."""
    refit: bool = True
    """Fit again on every run; false: only where there is no state yet, so that what was trained on
    the features stays in step with them."""

    @model_validator(mode="after")
    def _check_split(self) -> Self:
        if self.split_by is not None and self.split_by not in self.features.keys:
            keys = ", ".join(self.features.keys) or "none"
            raise ValueError(f"split_by {self.split_by} is no key of the set: there is {keys}")
        return self


class FeaturesParams(Params):
    """What `build_features` makes."""

    folder: str | None = None
    """Folder or volume that keeps each fitted state as a JSON file; null: only in the table."""
    tables: dict[str, FeatureTable] = Field(default_factory=dict)
    """The gold tables, by any name; `user_id` and `item_id` among a set's keys tie it to
    interactions. Each has a set of its own, by whose name its fitted states are kept."""

    def table_of(self, name: str) -> FeatureTable:
        """The table with the set `name`; raises ValueError, which names those that are declared."""
        sets = {table.features.name: table for table in self.tables.values()}
        if name not in sets:
            declared = ", ".join(sets) or "none"
            raise ValueError(f"{name} is no feature set: features.tables declares {declared}")
        return sets[name]

    @model_validator(mode="after")
    def _check_sets(self) -> Self:
        tables: dict[str, str] = {}
        for name, table in self.tables.items():
            other = tables.setdefault(table.features.name, name)
            if other != name:
                raise ValueError(
                    f"tables {other} and {name} would share the fitted states of one feature set, "
                    f"{table.features.name}: name one of the sets otherwise"
                )
        return self
