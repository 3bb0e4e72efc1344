"""The parameters of feature tables and of point-in-time joins."""

from typing import Literal, Self

from pydantic import Field, model_validator

from matchlake.features.feature_set import FeatureSet
from matchlake.params import Params, Settable
from matchlake.schemas import TableName, user_columns_of

EngineName = Literal["auto", "spark", "duckdb"]


class FeatureTable(Params):
    """A gold table of features: its source table and its feature set."""

    source: TableName
    """The source table, with one row per value of the keys."""
    table: TableName
    """The feature table that is written."""
    comment: str
    """The table's comment in the catalog."""
    features: FeatureSet
    layout: Literal["wide", "index", "sparse"] = "wide"
    """`wide`: one column per number and per category. `index`: one column per feature; a
    categorical feature becomes the index of the category. `sparse`: one column with the indices and
    values of all features."""
    split_by: str | None = None
    """The key of the set by which the table is partitioned. A query on one value reads only its
    partition. All partitions are written in one pass. An empty string in this key is an error."""
    user_columns: tuple[str, ...] | None = None
    """The columns that hold the id of a person; `[]`: none; null: `user_id`, if it is a key."""
    required: bool = True
    """true: fail if the source is missing or empty; false: warn and leave the table out."""
    reuse_fitted_state: bool = False
    """true: fit only if there is no fitted state yet, else keep the newest state. The features
    then stay those of the trained models. false: fit again on every run."""

    @model_validator(mode="after")
    def _check_split(self) -> Self:
        if self.split_by is not None and self.split_by not in self.features.keys:
            keys = ", ".join(self.features.keys) or "none"
            raise ValueError(f"split_by {self.split_by} is not a key of the set; its keys: {keys}")
        user_columns_of(self.user_columns, self.features.keys)
        return self

    @property
    def persons(self) -> tuple[str, ...]:
        """The columns that hold the id of a person."""
        return user_columns_of(self.user_columns, self.features.keys)


class FeaturesParams(Params):
    """The tables that `build_features` writes."""

    folder: str | None = None
    """Folder or volume for each fitted state as a JSON file; null: only in gold.feature_sets."""
    engine: Settable[EngineName] = "auto"
    """What fits the sets and writes the tables, with the same rows. `duckdb` needs local tables, as
    one process reads their files. `auto` chooses it for each table where it can give Spark's rows,
    up to 50 GB of Parquet; else Spark."""
    tables: dict[str, FeatureTable] = Field(default_factory=dict)
    """The gold tables, under names of your choice. A set with the key `user_id` or `item_id`
    belongs to the users or items of interactions. Each table needs a set of its own, because fitted
    states are kept by the set's name."""

    def table_of(self, name: str) -> FeatureTable:
        """The table with the set `name`; raises ValueError with the names of the declared sets."""
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
                    f"tables {other} and {name} both keep their fitted states under the name "
                    f"{table.features.name}: rename one of the two feature sets"
                )
        return self


class PointInTimeJoin(Params):
    """The columns by which a history of values is joined to labels, as of each label's time."""

    keys: tuple[str, ...] = Field(min_length=1)
    """The key columns, in the labels and in the history."""
    label_timestamp: str
    """The labels' column with the time of the label."""
    event_time: str
    """The history's column with the time from which the values of a row are true."""
    created_at: str | None = None
    """The history's column with the time at which its values were stored; null: `event_time`."""
    lookback_window_seconds: float | None = Field(None, gt=0)
    """Maximum age of a value at the time of the label; older values are null. null: no limit."""
