"""Training sets that can be built again: labels and histories at recorded versions."""

from typing import Self

from pydantic import Field
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from matchlake.errors import ReconciliationError
from matchlake.features.as_of import AsOf, join_as_of
from matchlake.io.delta import Lakehouse
from matchlake.params import Params


class History(AsOf):
    """A table whose values are joined to the labels as of their time."""

    table: str
    version: int | None = None
    """The Delta version that is read; null: the current one."""
    columns: tuple[str, ...] | None = None
    """The columns that are read, times and keys among them; null: all."""


class TrainingSet(Params):
    """Labels, and what was known when each of them happened; with versions it is a record."""

    labels: str
    """The table of labels."""
    labels_version: int | None = None
    """The Delta version that is read; null: the current one."""
    histories: tuple[History, ...] = Field(min_length=1)
    digest: str | None = None
    """Of the rows that were built, whatever their order; a rebuild must have the same."""

    def pinned(self, lake: Lakehouse) -> Self:
        """The same with the current version of every table that names none."""
        histories = tuple(
            history.model_copy(update={"version": lake.version(history.table)})
            if history.version is None
            else history
            for history in self.histories
        )
        version = self.labels_version
        version = lake.version(self.labels) if version is None else version
        return self.model_copy(update={"labels_version": version, "histories": histories})

    def inputs(self) -> dict[str, int | None]:
        """The version of every table, to be recorded with the run that trains on it."""
        return {self.labels: self.labels_version} | {h.table: h.version for h in self.histories}


def read_training_set(lake: Lakehouse, wanted: TrainingSet) -> DataFrame:
    """The labels with every history joined as of their time, at the versions wanted. Lazy."""
    frame = lake.read(wanted.labels, wanted.labels_version)
    for history in wanted.histories:
        values = lake.read(history.table, history.version)
        values = values.select(*history.columns) if history.columns else values
        frame = join_as_of(frame, values, history)
    return frame


def record_training_set(lake: Lakehouse, wanted: TrainingSet) -> tuple[DataFrame, TrainingSet]:
    """The training set and its record, `model_dump_json()` of which goes with the run.

    Starts the Spark jobs that find the versions, and one for the digest.
    """
    pinned = wanted.pinned(lake)
    frame = read_training_set(lake, pinned)
    return frame, pinned.model_copy(update={"digest": digest(frame)})


def rebuild_training_set(lake: Lakehouse, record: TrainingSet) -> DataFrame:
    """The training set of a record again; raises ReconciliationError where a row differs.

    Starts one Spark job, for the digest. Versions that were vacuumed cannot be read any more.
    """
    frame = read_training_set(lake, record)
    found = digest(frame)
    if found != record.digest:
        raise ReconciliationError(
            f"The training set on {record.labels} has digest {found}, its record {record.digest}: "
            "a table was rewritten under its version, or the join has changed since."
        )
    return frame


def digest(frame: DataFrame) -> str:
    """Rows and a sum of their hashes, equal for equal rows in any order; starts one Spark job."""
    hashed = F.xxhash64(*[F.col(f"`{name}`") for name in frame.columns])
    total = F.sum(hashed.cast("decimal(38,0)"))
    rows, sum_ = frame.agg(F.count(F.lit(1)), total).collect()[0]
    return f"{rows}-{int(sum_ or 0) % 2**64:016x}"
