"""From a stream's good records to its silver table: one row a key, and whether it came late."""

from datetime import UTC, datetime
from typing import NamedTuple, Self

from pydantic import Field, field_validator, model_validator
from pyspark.sql import Column as SparkColumn
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from matchlake.errors import ConfigError
from matchlake.ingest.params import StreamParams, checked_name
from matchlake.ingest.schema import GOOD, POSITION, STATUS
from matchlake.ingest.streams.audit_table import is_late
from matchlake.ingest.tables import allowed_values, stream_columns
from matchlake.params import Params
from matchlake.schemas import Column, TableSpec

LATE = Column(
    "late",
    "BOOLEAN",
    "Whether even the first record of it came later after it happened than is allowed",
    nullable=False,
)
ORDER = ("kafka_timestamp", "topic", "partition", "offset")
"""Of records with the same key the greatest counts: the one that Kafka took last."""


class SilverTable(Params):
    """The silver table of one stream."""

    stream: str
    """The stream, as `streams` names it."""
    table: str
    """The table of its good records, one row a key."""
    comment: str
    """What a row is; stands in the table."""
    keys: tuple[str, ...] = Field(min_length=1)
    """Of records that agree in these columns, the last that Kafka took counts."""

    @field_validator("table")
    @classmethod
    def _name_of_a_table(cls, name: str) -> str:
        return checked_name(name, 2)


class SilverParams(Params):
    """What `clean_events` makes, and which events it makes anew."""

    tables: dict[str, SilverTable] = Field(default_factory=dict)
    """The silver tables by name."""
    rebuild_from: datetime | None = None
    """Makes the events from this time on anew from bronze; a time without a zone is UTC."""
    until: datetime | None = None
    """The end of what is made anew; that time itself is not part of it."""

    @field_validator("rebuild_from", "until")
    @classmethod
    def _in_a_zone(cls, time: datetime | None) -> datetime | None:
        return time.replace(tzinfo=UTC) if time and time.tzinfo is None else time

    @model_validator(mode="after")
    def _both_ends(self) -> Self:
        if (self.rebuild_from is None) != (self.until is None):
            raise ValueError("rebuild_from and until go together: both or none")
        if self.rebuild_from and self.until and self.rebuild_from >= self.until:
            raise ValueError("rebuild_from has to be before until")
        return self


class Cleaning(NamedTuple):
    """A stream and its silver table: what is read, and what of it is kept."""

    stream: StreamParams
    silver: SilverTable

    @property
    def event_time(self) -> str:
        """The column that says when an event happened; raises ConfigError without one."""
        return self._required(self.stream.event_time or "event_time", "event_time")

    def spec(self) -> TableSpec:
        """The silver table: what records fill, Kafka's position, and `late`.

        Raises ConfigError where a key or the event time is no required column of the stream.
        """
        needed = {self.event_time, *(self._required(key, "key") for key in self.silver.keys)}
        columns = (c._replace(nullable=c.name not in needed) for c in stream_columns(self.stream))
        return TableSpec(
            self.silver.table,
            f"{self.silver.comment} Of the good records of {self.stream.table} that agree in "
            f"{', '.join(self.silver.keys)} the last.",
            (*columns, *POSITION, LATE),
            keys=self.silver.keys,
            checks=tuple(allowed_values(self.stream.columns)),
        )

    def kept(self, rows: DataFrame) -> DataFrame:
        """Of the good rows of the bronze table the last of each key, with `late`. Lazy."""
        *columns, _ = self.spec().column_names
        last = F.max_by(F.struct(*columns), F.struct(*ORDER)).alias("last")
        good = rows.where(F.col(STATUS.name) == GOOD)
        late = F.bool_and(self.is_late()).alias(LATE.name)
        return good.groupBy(*self.silver.keys).agg(last, late).select("last.*", LATE.name)

    def kept_between(self, rows: DataFrame, start: datetime, end: datetime) -> DataFrame:
        """Those of `kept` that happened from `start` on and before `end`. Lazy.

        Where the event time is a key, no other row of the bronze table is read.
        """
        inside = self.happened(start, end)
        if self.event_time in self.silver.keys:
            return self.kept(rows.where(inside))
        return self.kept(rows).where(inside)

    def happened(self, start: datetime, end: datetime) -> SparkColumn:
        """Whether an event happened from `start` on and before `end`."""
        time = F.col(self.event_time)
        return (time >= F.lit(start)) & (time < F.lit(end))

    def is_late(self) -> SparkColumn:
        """Whether a record came late."""
        late = is_late(F.col(self.event_time), self.stream)
        return F.coalesce(late, F.lit(False))  # noqa: FBT003 - a value

    def _required(self, name: str, role: str) -> str:
        column = self.stream.columns.get(name)
        if column is None or not column.required:
            raise ConfigError(
                f"{role} {name} of {self.silver.table} has to be a required column of stream "
                f"{self.silver.stream} (there is: {', '.join(self.stream.columns)})."
            )
        return name


def cleanings(params: SilverParams, streams: dict[str, StreamParams]) -> dict[str, Cleaning]:
    """The declared silver tables, each with its stream; raises ConfigError for an unknown one."""
    unknown = {each.stream for each in params.tables.values()} - streams.keys()
    if unknown:
        raise ConfigError(
            f"silver.tables speaks of stream {', '.join(sorted(unknown))}: declared below "
            f"`streams` is {', '.join(streams) or 'none'}."
        )
    return {name: Cleaning(streams[each.stream], each) for name, each in params.tables.items()}
