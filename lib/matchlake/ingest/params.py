"""Declarations of streams and of the silver tables that are built from them."""

from datetime import UTC, datetime
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from matchlake.errors import SchemaError
from matchlake.ingest.format_params import WithFormat
from matchlake.ingest.schema import RECORD_COLUMNS, RESCUED
from matchlake.params import Params
from matchlake.schemas import check_name

ColumnType = Literal[
    "string", "int", "bigint", "double", "boolean", "timestamp", "date", "array<string>"
]
NUMBERS = ("int", "bigint", "double")
_MOST = {"int": 2**31 - 1, "bigint": 2**53}
"""Up to here a bound, which is a double, says exactly which integers it allows."""


class ColumnParams(Params):
    """One declared column: its type, where it comes from, and what its values may be."""

    type: ColumnType
    """A `string` also takes JSON integers, as their digits; a `timestamp` without a zone is UTC."""
    comment: str
    """What the column means; stands in the table."""
    path: str | None = None
    """The field it is read from, dots between nested names; null: the column's own name."""
    required: bool = True
    """Whether a record without it, or with null, is quarantined."""
    min: float | None = None
    """The least number allowed."""
    max: float | None = None
    """The greatest number allowed."""
    one_of: tuple[str, ...] = ()
    """The only texts allowed; empty: all."""
    epoch: Literal["s", "ms", "us"] | None = None
    """A timestamp is a number of these units since 1970; null: it is ISO 8601 text."""

    @model_validator(mode="after")
    def _fits_its_type(self) -> Self:
        if (self.min is not None or self.max is not None) and self.type not in NUMBERS:
            raise ValueError(f"min and max are for {', '.join(NUMBERS)}, not for {self.type}")
        most = _MOST.get(self.type)
        bounds = [bound for bound in (self.min, self.max) if bound is not None]
        if most and not all(bound.is_integer() and abs(bound) <= most for bound in bounds):
            raise ValueError(f"min and max of {self.type} are whole numbers within {most}")
        if self.one_of and self.type != "string":
            raise ValueError(f"one_of is for string, not for {self.type}")
        if self.epoch and self.type != "timestamp":
            raise ValueError(f"epoch is for timestamp, not for {self.type}")
        return self


Columns = dict[str, ColumnParams]


class StreamParams(WithFormat):
    """One stream: a topic, what its records hold, and where they go."""

    topic: str = Field(pattern=r"^[A-Za-z0-9._-]{1,249}$")
    """The Kafka topic."""
    table: str
    """The bronze table of all records, good and bad."""
    good_view: str
    """The view of its good records."""
    quarantine_view: str
    """The view of its bad records."""
    comment: str
    """What the stream is about; stands in the table."""
    event_time: str | None = None
    """The column that says when an event happened."""
    columns: Columns = Field(min_length=1)
    """The declared columns, in their order; other fields of a record are let be."""
    schema_version: int = Field(1, ge=1)
    """Number of the declaration, recorded with each row; raise it when the columns change."""
    new_columns: Literal["refuse", "add"] = "refuse"
    """Where a column is declared that the table has not: fail, or add it, null in older rows."""
    late_after: float | None = Field(None, gt=0)
    """Seconds between an event and its arrival in Kafka above which it counts as late."""
    on_data_loss: Literal["fail", "record"] = "fail"
    """Where Kafka no longer holds what is to be read: fail, or go on and record the gap."""
    max_bad_share: float | None = Field(None, ge=0, lt=1)
    """A batch of which more is bad fails before it is written; null: none does. Reads twice."""
    auto_compact: bool = False
    """Whether Delta joins small files after a batch: for streams with short triggers."""
    max_offsets_per_batch: int | None = Field(None, ge=1)
    """The most records one micro-batch reads; null: all there are."""

    @field_validator("table", "good_view", "quarantine_view")
    @classmethod
    def _name_of_a_table(cls, name: str) -> str:
        return checked_name(name, 2)

    @model_validator(mode="after")
    def _columns_have_names_of_their_own(self) -> Self:
        taken = {column.name for column in (*RECORD_COLUMNS, RESCUED)}
        for name, column in self.columns.items():
            checked_name(name, 1)
            if self.format == "csv" and column.type == "array<string>":
                raise ValueError(f"column {name}: a CSV row has no arrays")
            if name in taken:
                raise ValueError(f"column {name} is matchlake's own here: choose another name")
        if self.event_time is not None:
            declared = self.columns.get(self.event_time)
            if declared is None or declared.type != "timestamp":
                raise ValueError(f"event_time {self.event_time} is no declared timestamp column")
        return self


class ReconcileParams(Params):
    """What `reconcile` checks."""

    streams: tuple[str, ...] | None = None
    """Names of the streams; null: all."""
    rebuild: bool = False
    """Whether to write the ledger anew from the tables first."""


class ReplayParams(Params):
    """What `replay_quarantine` parses again. An empty text counts as null."""

    stream: str | None = None
    """Name of the stream."""
    reasons: tuple[str, ...] = ()
    """Only records with one of these reasons; empty: all."""
    since: str | None = None
    """Only records that Kafka received at or after this ISO 8601 time, UTC."""
    fix: str | None = None
    """SQL expression of the text to parse instead, of `value`, `key`, `reason`, `detail`."""

    @field_validator("stream", "since", "fix")
    @classmethod
    def _empty_is_null(cls, text: str | None) -> str | None:
        return text or None

    @field_validator("reasons")
    @classmethod
    def _without_empty(cls, reasons: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(filter(None, reasons))


class EraseParams(Params):
    """The user that `erase_user` erases."""

    user_id: str | None = Field(None, repr=False)
    """The user's `user_id`, as text."""
    include_unparsed_matches: bool = False
    """Whether to erase quarantined records that hold the id anywhere, too."""

    @field_validator("user_id", mode="before")
    @classmethod
    def _is_text(cls, user_id: object) -> object:
        if user_id is not None and not isinstance(user_id, str):  # 007 would become 7
            raise ValueError("an id is text: pass it as --user-id ID, or quote it for YAML")
        return user_id


class SilverTable(Params):
    """The silver table of one stream."""

    stream: str
    """The stream, as `streams` names it."""
    table: str
    """The table of its good records, one row per key."""
    comment: str
    """The meaning of a row; stands in the table."""
    keys: tuple[str, ...] = Field(min_length=1)
    """Of the records with equal values in these columns, the last that Kafka took is kept."""

    @field_validator("table")
    @classmethod
    def _name_of_a_table(cls, name: str) -> str:
        return checked_name(name, 2)


class InteractionsParams(Params):
    """The columns of a silver table that fill `silver.interactions`.

    The event time is the stream's own. All columns are required columns of the stream.
    """

    source: str
    """The name of the silver table in `silver.tables`."""
    user_id: str = "user_id"
    """The column with the user's key."""
    item_id: str = "item_id"
    """The column with the item's key."""
    rating: str | None = "rating"
    """The numeric column with the rating; null: every event has the rating 1."""


class SilverParams(Params):
    """The tables that `build_silver` writes, and the range of time that it rebuilds."""

    tables: dict[str, SilverTable] = Field(default_factory=dict)
    """The silver tables by name."""
    interactions: InteractionsParams | None = None
    """The source of `silver.interactions`; null: the table is not built."""
    rebuild_from: datetime | None = None
    """Rebuilds the events from this time on from bronze; a time without a zone is UTC."""
    until: datetime | None = None
    """The end of the rebuilt range, exclusive."""

    @field_validator("rebuild_from", "until")
    @classmethod
    def _in_a_zone(cls, time: datetime | None) -> datetime | None:
        return time.replace(tzinfo=UTC) if time and time.tzinfo is None else time

    @model_validator(mode="after")
    def _validate_range(self) -> Self:
        if (self.rebuild_from is None) != (self.until is None):
            raise ValueError("rebuild_from and until go together: both or none")
        if self.rebuild_from and self.until and self.rebuild_from >= self.until:
            raise ValueError("rebuild_from has to be before until")
        return self

    @model_validator(mode="after")
    def _validate_interactions(self) -> Self:
        if self.interactions and self.interactions.source not in self.tables:
            raise ValueError(
                f"interactions.source {self.interactions.source} is no silver table: "
                f"silver.tables declares {', '.join(self.tables) or 'none'}"
            )
        return self


def checked_name(name: str, parts: int) -> str:
    """The name when it is one; raises ValueError, which pydantic reports with its place."""
    try:
        return check_name(name, parts)
    except SchemaError as error:
        raise ValueError(str(error)) from None
