"""Reproducible training sets: labels and history tables at recorded versions."""

from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Self

from pydantic import Field, ValidationError

from matchlake.errors import ModelError, ReconciliationError
from matchlake.features.params import PointInTimeJoin
from matchlake.io.mlflow_tracking import Run, Tracker
from matchlake.params import Params
from matchlake.schemas import Column as TableColumn
from matchlake.schemas import TableName, TableSpec, quote_identifier, user_columns_of

if TYPE_CHECKING:  # Spark is not imported here, because reading conf loads this module.
    from pyspark.sql import Column, DataFrame
    from pyspark.sql.types import DataType

    from matchlake.io.delta import Lakehouse

RECORD = "training_set.json"
"""The artifact of a run with the record of its training set."""


class History(PointInTimeJoin):
    """A table that is joined to the labels point-in-time correctly."""

    table: TableName
    version: int | None = None
    """The Delta version that is read; null: the current one."""
    columns: tuple[str, ...] | None = None
    """The columns to read besides keys and times; null: all columns."""
    prefix: str = ""
    """Prefix of the joined columns, in case the labels have columns of the same names."""

    def read(self, lake: "Lakehouse") -> "DataFrame":
        """The columns to join, with their prefix; lazy."""
        frame = lake.read(self.table, self.version)
        if self.columns is not None:
            times = [time for time in (self.event_time, self.created_at) if time]
            frame = frame.select(*dict.fromkeys([*self.keys, *times, *self.columns]))
        renamed = {n: self.prefix + n for n in frame.columns if n not in self.keys}
        return frame.withColumnsRenamed(renamed)

    def join(self) -> PointInTimeJoin:
        """The join, by the names of `read`."""
        times = {"event_time": self.prefix + self.event_time}
        if self.created_at is not None:
            times["created_at"] = self.prefix + self.created_at
        return self.model_copy(update=times)


class TrainingSet(Params):
    """Labels and their history tables. If all versions and the digest are set, this is a record."""

    labels: TableName
    """The table of labels."""
    labels_version: int | None = None
    """The Delta version that is read; null: the current one."""
    history_tables: tuple[History, ...] = Field(min_length=1)
    digest: str | None = None
    """Digest of the rows, independent of their order; a rebuild must give the same digest."""

    def pinned(self, lake: "Lakehouse") -> Self:
        """Returns a copy with the current version of every table that has no version.

        A table that occurs more than once without a version gets the same version.
        """
        current = {t: lake.version(t) for t, version in self.inputs() if version is None}

        def version(table: str, named: int | None) -> int:
            return current[table] if named is None else named

        histories = tuple(
            history.model_copy(update={"version": version(history.table, history.version)})
            for history in self.history_tables
        )
        labels = version(self.labels, self.labels_version)
        return self.model_copy(update={"labels_version": labels, "history_tables": histories})

    def inputs(self) -> set[tuple[str, int | None]]:
        """Returns every table with its version."""
        return {(self.labels, self.labels_version)} | {
            (h.table, h.version) for h in self.history_tables
        }


class TrainingSetTable(Params):
    """A table and its training set."""

    table: TableName
    """The table to which the training set is written."""
    comment: str
    """Comment of the table in the catalog."""
    user_columns: tuple[str, ...] | None = None
    """The columns that are ids of persons; `[]`: none; null: `user_id`, if the set has it."""
    rows: TrainingSet
    """The labels and the histories that are joined to them."""
    run: str | None = None
    """The id of an MLflow run: rebuild its recorded training set instead of `rows`."""


def read_training_set(lake: "Lakehouse", training_set: TrainingSet) -> "DataFrame":
    """Joins all history tables to the labels, at the versions of `training_set`; lazy."""
    from matchlake.features.point_in_time import point_in_time_join  # noqa: PLC0415 - brings Spark

    frame = lake.read(training_set.labels, training_set.labels_version)
    for history in training_set.history_tables:
        frame = point_in_time_join(frame, history.read(lake), history.join())
    return frame


def rebuild_training_set(lake: "Lakehouse", record: TrainingSet) -> "DataFrame":
    """Rebuilds the training set of a record; raises ReconciliationError if a row differs.

    It starts one Spark job, for the digest. Vacuumed versions cannot be read.
    """
    frame = read_training_set(lake, record)
    actual = digest(frame)
    if actual != record.digest:
        raise ReconciliationError(
            f"The training set on {record.labels} has the digest {actual}, but its record has "
            f"{record.digest}: a table was rewritten under its version, or the join has changed "
            "since."
        )
    return frame


def log_training_set(run: Run, record: TrainingSet) -> None:
    """Records the tables, their versions and the training set with the run."""
    inputs = sorted((table, v) for table, v in record.inputs() if v is not None)
    for table, pairs in groupby(inputs, itemgetter(0)):
        run.log_input(table, *(version for _, version in pairs))
    run.log_text(record.model_dump_json(indent=1), RECORD)


def recorded_training_set(tracker: Tracker, run_id: str) -> TrainingSet:
    """Reads the record of `log_training_set`; raises ModelError if the run has none."""
    try:
        return TrainingSet.model_validate_json(tracker.read_text(run_id, RECORD))
    except ValidationError as error:
        raise ModelError(f"{RECORD} of run {run_id} is not a record of a training set.") from error


def training_set_table(training_set: TrainingSetTable, frame: "DataFrame") -> TableSpec:
    """Returns the table for the rows of `frame`; column comments come from the source tables."""
    columns = [
        TableColumn(field.name, field.dataType.simpleString(), field.metadata.get("comment", ""))
        for field in frame.schema
    ]
    return TableSpec(
        training_set.table,
        training_set.comment,
        tuple(columns),
        user_columns=user_columns_of(training_set.user_columns, frame.columns),
        written_by="build_training_sets",
    )


def digest(frame: "DataFrame") -> str:
    """Returns row count and sum of row hashes, independent of the order; one Spark job."""
    from pyspark.sql import functions as F  # noqa: PLC0415 - reading conf loads this module

    parts = [part for field in frame.schema for part in _hashed(field.name, field.dataType)]
    hashed = F.xxhash64(*parts)
    total = F.sum(hashed.cast("decimal(38,0)"))
    rows, sum_ = frame.agg(F.count(F.lit(1)), total).collect()[0]
    return f"{rows}-{int(sum_ or 0) % 2**64:016x}"


def _hashed(name: str, kind: "DataType") -> "list[Column]":
    """Returns the column, and the positions of its nulls, which a hash would ignore."""
    from pyspark.sql import functions as F  # noqa: PLC0415
    from pyspark.sql.types import AtomicType  # noqa: PLC0415

    column = F.col(quote_identifier(name))
    if isinstance(kind, AtomicType):
        return [column, column.isNull()]
    return [column, column.cast("string")]
