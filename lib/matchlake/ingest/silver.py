"""Silver tables as plans: one row per key of a stream's valid records, and the interactions."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from pyspark.sql import Column as SparkColumn
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from matchlake.errors import ConfigError
from matchlake.ingest.columns import NUMBERS, is_number
from matchlake.ingest.params import InteractionsParams, SilverParams, SilverTable, StreamParams
from matchlake.ingest.schema import POSITION, STATUS, VALID
from matchlake.ingest.streams.audit_table import is_late
from matchlake.ingest.tables import allowed_values, stream_columns
from matchlake.schemas import EVENT_TIME, INTERACTIONS, ITEM_ID, RATING, USER_ID, Column, TableSpec

LATE = Column(
    "late",
    "BOOLEAN",
    "Whether even the first record of the event came later than the stream allows",
    nullable=False,
)
ORDER = ("kafka_timestamp", "topic", "partition", "offset")
"""The order in which Kafka took records: the greatest is the last."""


def last_per_key(
    rows: DataFrame, keys: Sequence[str], order: Sequence[str], *aggregates: SparkColumn
) -> DataFrame:
    """The row with the greatest `order` per key, and the named aggregates of its group. Lazy.

    The only rule by which the product chooses among rows of one key. Gives the columns of `rows`,
    then those of `aggregates`. Where `order` differs in all rows of a key, the result does not
    depend on the order in which rows are read.
    """
    last = F.max_by(F.struct(*rows.columns), F.struct(*order)).alias("last")
    grouped = rows.groupBy(*keys).agg(last, *aggregates)
    return grouped.select("last.*", *grouped.columns[len(keys) + 1 :])


class SilverSpec(NamedTuple):
    """A stream and its silver table: the rows that are read and the rows that are kept."""

    stream: StreamParams
    silver: SilverTable

    @property
    def event_time(self) -> str:
        """The column with the time of the event; raises ConfigError without one."""
        return self.require(self.stream.event_time or EVENT_TIME, "event_time")

    def spec(self) -> TableSpec:
        """The silver table: the columns that records fill, Kafka's position, and `late`.

        Raises ConfigError where a key or the event time is no required column of the stream.
        """
        required = {self.event_time, *(self.require(key, "key") for key in self.silver.keys)}
        columns = (c._replace(nullable=c.name not in required) for c in stream_columns(self.stream))
        return TableSpec(
            self.silver.table,
            f"{self.silver.comment} The last valid record of {self.stream.table} per "
            f"{', '.join(self.silver.keys)}.",
            (*columns, *POSITION, LATE),
            keys=self.silver.keys,
            checks=tuple(allowed_values(self.stream.columns)),
            user_columns=self.stream.persons,
            written_by="build_silver",
        )

    def rows(self, bronze: DataFrame) -> DataFrame:
        """The last valid row per key of the bronze table, with `late`. Lazy."""
        *columns, _ = self.spec().column_names
        valid = bronze.where(F.col(STATUS.name) == VALID)
        late = F.bool_and(self.is_late()).alias(LATE.name)
        return last_per_key(valid.select(*columns), self.silver.keys, ORDER, late)

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
        """Whether a record came late."""
        late = is_late(F.col(self.event_time), self.stream)
        return F.coalesce(late, F.lit(False))  # noqa: FBT003 - a value

    def require(self, name: str, role: str) -> str:
        """`name`, if it is a required column of the stream; raises ConfigError otherwise."""
        column = self.stream.columns.get(name)
        if column is None or not column.required:
            raise ConfigError(
                f"{role} {name} of {self.silver.table} has to be a required column of stream "
                f"{self.silver.stream} (there is: {', '.join(self.stream.columns)})."
            )
        return name


class InteractionsSpec(NamedTuple):
    """The silver table of events that `silver.interactions` is built from, and its columns."""

    params: InteractionsParams
    source: SilverSpec

    def rows(self, events: DataFrame) -> DataFrame:
        """The last event per user and item, with the columns of `silver.interactions`. Lazy.

        The latest event time wins. Among equal ones the record that Kafka took last wins, as it
        does in the silver table itself. Raises ConfigError for a column that the stream does not
        require, and for a rating that is no number.
        """
        source, columns = self.source, self.params
        chosen = events.select(
            F.col(source.require(columns.user_id, "user_id")).cast("string").alias(USER_ID),
            F.col(source.require(columns.item_id, "item_id")).cast("string").alias(ITEM_ID),
            self._rating().cast("double").alias(RATING),
            F.col(source.event_time).alias(EVENT_TIME),
            *ORDER,
        )
        last = last_per_key(chosen, INTERACTIONS.keys, (EVENT_TIME, *ORDER))
        return last.select(*INTERACTIONS.column_names)

    def _rating(self) -> SparkColumn:
        if self.params.rating is None:
            return F.lit(1.0)
        name = self.source.require(self.params.rating, "rating")
        kind = self.source.stream.columns[name].type
        if not is_number(kind):
            raise ConfigError(
                f"rating {name} of silver.interactions is {kind} in stream "
                f"{self.source.silver.stream}: choose a column of type {', '.join(NUMBERS)}, or "
                "null, with which every event has the rating 1."
            )
        return F.col(name)


def silver_specs(params: SilverParams, streams: dict[str, StreamParams]) -> dict[str, SilverSpec]:
    """The declared silver tables, each with its stream; raises ConfigError for an unknown one."""
    unknown = {each.stream for each in params.tables.values()} - streams.keys()
    if unknown:
        raise ConfigError(
            f"silver.tables names stream {', '.join(sorted(unknown))}, but `streams` declares "
            f"{', '.join(streams) or 'none'}."
        )
    return {name: SilverSpec(streams[each.stream], each) for name, each in params.tables.items()}


def interactions_spec(
    params: SilverParams, streams: dict[str, StreamParams]
) -> InteractionsSpec | None:
    """How `silver.interactions` is built; None where conf declares no source of it."""
    if params.interactions is None:
        return None
    source = silver_specs(params, streams)[params.interactions.source]
    return InteractionsSpec(params.interactions, source)
