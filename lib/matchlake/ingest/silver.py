"""Silver tables as plans: one row per key of a stream's valid records."""

from datetime import datetime
from typing import NamedTuple

from pyspark.sql import Column as SparkColumn
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from matchlake.errors import ConfigError
from matchlake.ingest.last_records import (
    CREATION,
    SEVERAL_PARTITIONS,
    Aggregate,
    last_per_key,
)
from matchlake.ingest.params import SilverParams, SilverTable, StreamParams
from matchlake.ingest.schema import DELETE, OPERATION, POSITION, STATUS, VALID
from matchlake.ingest.silver_rules import SilverRules
from matchlake.ingest.streams.audit_table import is_late
from matchlake.ingest.tables import allowed_values, stream_columns
from matchlake.schemas import EVENT_TIME, Column, TableSpec

LATE = Column(
    "late",
    "BOOLEAN",
    "Whether even the first record of the event came later than the stream allows",
    nullable=False,
)
SEVERAL = Column(
    SEVERAL_PARTITIONS,
    "BOOLEAN",
    "Whether records of the key are in more than one partition of the topic",
    nullable=False,
)


DELETED, REPLAYED = "_deleted", "_replayed"
_ANY_REPLAYED, _CHANGE = "_any_replayed", "_change_type"


def is_delete(stream: StreamParams) -> SparkColumn:
    """Whether a valid record deletes the row with its key."""
    if not stream.has_deletes:
        return F.lit(False)  # noqa: FBT003 - a value
    return F.coalesce(F.col(OPERATION.name) == DELETE, F.lit(False))  # noqa: FBT003 - a value


class SilverSpec(NamedTuple):
    """A stream and its silver table: the rows that are read and the rows that are kept."""

    stream: StreamParams
    silver: SilverTable

    @property
    def event_time(self) -> str:
        """The column with the time of the event. Raises ConfigError if there is none."""
        return self.require(self.stream.event_time or EVENT_TIME, "event_time")

    def spec(self) -> TableSpec:
        """The silver table: the columns that records fill, Kafka's position, and `late`.

        Raises ConfigError if a key or the event time is not a required column of the stream. Also
        raises it if the keys are not the `key_columns` of a stream with deletes.
        """
        if self.stream.has_deletes and set(self.silver.keys) != set(self.stream.key_columns):
            raise ConfigError(
                f"{self.silver.table} has the keys {', '.join(self.silver.keys)}, but stream "
                f"{self.silver.stream} deletes rows by {', '.join(self.stream.key_columns)}. Its "
                "keys have to be the key_columns of the stream."
            )
        required = {self.event_time, *(self.require(key, "key") for key in self.silver.keys)}
        columns = (c._replace(nullable=c.name not in required) for c in stream_columns(self.stream))
        return TableSpec(
            self.silver.table,
            f"{self.silver.comment} The last valid record of {self.stream.table} per "
            f"{', '.join(self.silver.keys)}.",
            (*columns, *self.rules.table_columns, *POSITION, SEVERAL, LATE),
            keys=self.silver.keys,
            checks=tuple(allowed_values(self.stream.columns)),
            user_columns=self.stream.persons,
            written_by="build_silver",
        )

    @property
    def rules(self) -> SilverRules:
        """The rules of the table, which decide which records it is built from."""
        return SilverRules(self.stream, self.silver)

    def rows(self, bronze: DataFrame) -> DataFrame:
        """The last valid row per key of the bronze table, with the columns of `spec`. Lazy.

        A key whose last record is a delete has no row. The bronze table may have `_creation`, as
        `Topics.marked` adds it.
        """
        present = self.last_records(bronze).where(~F.col(DELETED))
        return present.select(self.spec().column_names)

    def last_records(self, bronze: DataFrame) -> DataFrame:
        """The last valid record per key, deletes included; `_deleted` and `_replayed` follow. Lazy.

        `_replayed`: a record of the key became valid by a replay. It is
        known if `bronze` has the changes of a table.
        """
        *columns, _, _ = self.spec().column_names
        more = [CREATION] if CREATION in bronze.columns else []
        deleted = is_delete(self.stream).alias(DELETED)
        replayed = F.lit(False)  # noqa: FBT003 - a value
        if _CHANGE in bronze.columns:
            replayed = F.col(_CHANGE) == "update_postimage"
        valid = self.rules.obeying(bronze.where(F.col(STATUS.name) == VALID))
        valid = valid.select(*columns, *more, deleted, replayed.alias(REPLAYED))
        late = F.when(~F.col(DELETED), self.is_late())
        aggregates = {
            LATE.name: Aggregate(F.bool_and, late),
            _ANY_REPLAYED: Aggregate(F.bool_or, F.col(REPLAYED)),
        }
        last = last_per_key(valid, self.silver.keys, aggregates)
        return last.withColumn(REPLAYED, F.col(_ANY_REPLAYED)).drop(_ANY_REPLAYED, *more)

    def rows_between(self, bronze: DataFrame, start: datetime, end: datetime) -> DataFrame:
        """The rows of `rows` with an event time from `start` on and before `end`. Lazy.

        Where the event time is a key, no other row of the bronze table is read.
        """
        inside = self.happened(start, end)
        if self.event_time in self.silver.keys:
            return self.rows(bronze.where(inside))
        return self.rows(bronze).where(inside)

    def happened(self, start: datetime, end: datetime) -> SparkColumn:
        """Whether an event happened from `start` on and before `end`."""
        time = F.col(self.event_time)
        return (time >= F.lit(start)) & (time < F.lit(end))

    def is_late(self) -> SparkColumn:
        """Whether a record is late: see `lateness_threshold_seconds`."""
        late = is_late(F.col(self.event_time), self.stream)
        return F.coalesce(late, F.lit(False))  # noqa: FBT003 - a value

    def require(self, name: str, role: str) -> str:
        """Returns `name`. Raises ConfigError unless it is a required column of the stream."""
        column = self.stream.columns.get(name)
        if column is None or not column.required:
            raise ConfigError(
                f"{role} {name} of {self.silver.table} has to be a required column of stream "
                f"{self.silver.stream} (there is: {', '.join(self.stream.columns)})."
            )
        return name


def silver_specs(params: SilverParams, streams: dict[str, StreamParams]) -> dict[str, SilverSpec]:
    """The declared silver tables, each with its stream."""
    return {name: SilverSpec(streams[each.stream], each) for name, each in params.tables.items()}
