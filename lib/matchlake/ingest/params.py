"""The parameters of streams, of their jobs, and of silver tables. Imports no Spark."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Literal, Self

from pydantic import (
    Field,
    SerializeAsAny,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from matchlake.formulas.user_sql import check_expression
from matchlake.ingest.columns import Columns, checked_name
from matchlake.ingest.parse.formats import FORMATS, Format, JsonOptions
from matchlake.ingest.parse.limits import Limits
from matchlake.ingest.rules import Rules, RuleSet, types_of
from matchlake.ingest.schema import DELETE, OPERATION, RECORD_COLUMNS
from matchlake.io.secrets.value import SecretRef
from matchlake.params import Params, Settable
from matchlake.schemas import TableName, user_columns_of

AVAILABLE_NOW = "available_now"
RECORD_TIME = {"kafka_timestamp": "timestamp"}
"""The column of a record that a rule can read besides the declared ones."""


class StreamParams(Params):
    """One stream: its topic, the columns of its records, and the table that it is written to."""

    topic: str = Field(pattern=r"^[A-Za-z0-9._-]{1,249}$")
    """The Kafka topic."""
    format: str = "json"
    """json: one object per message; csv: one row; avro; confluent_avro: Avro that begins with the
    id of its schema in a registry; protobuf."""
    format_options: SerializeAsAny[Params] = Field(JsonOptions(), validate_default=False)
    """The options of the format."""
    limits: Limits = Limits()
    """The limits on one value."""
    unknown_fields: Literal["ignore", "quarantine", "rescue"] = "ignore"
    """Fields that no column declares. ignore: they are dropped; quarantine: their record is
    quarantined; rescue: they are kept as JSON in `_rescued_data`."""
    table: str
    """The bronze table of all records, valid or quarantined."""
    valid_view: str
    """The view of the valid records."""
    quarantine_view: str
    """The view of the quarantined records."""
    comment: str
    """The comment of the table."""
    event_time: str | None = None
    """The timestamp column with the time of the event."""
    columns: Columns = Field(min_length=1)
    """The declared columns, in their order."""
    change_data: Literal["none", "tombstones", "debezium"] = "none"
    """Whether records can delete rows of silver tables. tombstones: a record without a value
    deletes the row with its key; debezium: the values are Debezium's envelopes (`op`, `before`,
    `after`, with or without `payload`), and the columns are those of the row."""
    key_columns: tuple[str, ...] = ()
    """With `change_data`, the columns that the key of a message holds: the fields of its JSON
    object, or the one column that is the whole key."""
    user_columns: tuple[str, ...] | None = None
    """The columns that hold the id of a person; `[]`: none; null: `user_id`, if it is declared."""
    schema_version: int = Field(1, ge=1)
    """The version of the declaration, recorded with each row; raise it when the columns change."""
    schema_evolution: Literal["fail", "add_columns"] = "fail"
    """The action if the table lacks a declared column. fail: the job fails; add_columns: the column
    is added, and is null in older rows."""
    lateness_threshold_seconds: float | None = Field(None, gt=0)
    """An event is late if it reaches Kafka more than so many seconds after its event time."""
    on_data_loss: Literal["fail", "record"] = "fail"
    """The action if Kafka has deleted offsets that were not read. fail: the job fails, as with
    Spark's `failOnDataLoss`; record: the job continues and records the gap."""
    max_quarantined_fraction: float | None = Field(None, ge=0, lt=1)
    """The largest fraction of quarantined records per batch. A batch above it fails before it is
    written. null: no limit. With a limit, each batch is read twice."""
    auto_compact: bool = False
    """Whether Delta joins small files after a batch, for streams with a short trigger."""
    max_offsets_per_trigger: int | None = Field(None, ge=1)
    """The largest number of offsets per micro-batch, as Spark's option; null: all."""
    rules: Rules = Field(default_factory=dict)
    """Conditions over the columns of a valid record and `kafka_timestamp`, by name."""

    @field_validator("format")
    @classmethod
    def _validate_format(cls, name: str) -> str:
        if name not in FORMATS:
            raise ValueError(f"format {name} is none of {', '.join(FORMATS)}")
        return name

    @field_validator("format_options", mode="before")
    @classmethod
    def _parse_format_options(cls, options: Any, info: ValidationInfo) -> Any:
        """The options as the class of the format; errors name the option."""
        if isinstance(options, Params) or "format" not in info.data:
            return options
        try:
            return FORMATS[info.data["format"]].options.model_validate(options)
        except ValidationError as error:
            listed = (
                f"{'.'.join(map(str, each['loc']))}: {each['msg'].removeprefix('Value error, ')}"
                for each in error.errors()
            )
            raise ValueError("; ".join(listed)) from None

    @field_validator("table", "valid_view", "quarantine_view")
    @classmethod
    def _validate_table_name(cls, name: str) -> str:
        return checked_name(name, 2)

    @model_validator(mode="before")
    @classmethod
    def _default_format_options(cls, values: Any) -> Any:
        """Adds empty options if conf gives none, so that they get the class of the format."""
        return {"format_options": {}, **values} if isinstance(values, Mapping) else values

    @model_validator(mode="after")
    def _validate_columns(self) -> Self:
        taken = {column.name for column in RECORD_COLUMNS}
        for name, column in self.columns.items():
            checked_name(name, 1)
            if self.format_entry.positional and column.type == "array<string>":
                raise ValueError(f"column {name}: a {self.format} row has no arrays")
            if name.startswith("_") or name in taken:
                raise ValueError(f"column {name} is reserved for matchlake: choose another name")
        user_columns_of(self.user_columns, self.columns)
        self.rule_set.validate()
        if self.event_time is not None:
            declared = self.columns.get(self.event_time)
            if declared is None or declared.type != "timestamp":
                raise ValueError(f"event_time {self.event_time} is not a declared timestamp column")
        return self

    @model_validator(mode="after")
    def _validate_change_data(self) -> Self:
        if (self.change_data == "none") == bool(self.key_columns):
            raise ValueError("set both change_data and key_columns, or neither")
        for name in self.key_columns:
            if name not in self.columns or not self.columns[name].required:
                raise ValueError(f"key_columns {name} is not a required column")
        if self.change_data == "debezium" and self.format_entry.positional:
            raise ValueError(f"change_data debezium: a {self.format} row cannot be an envelope")
        if self.change_data == "debezium" and self.unknown_fields != "ignore":
            raise ValueError("change_data debezium: unknown_fields can only be ignore")
        return self

    @property
    def has_deletes(self) -> bool:
        """Whether records can delete rows of silver tables."""
        return self.change_data != "none"

    @property
    def persons(self) -> tuple[str, ...]:
        """The columns that hold the id of a person."""
        return user_columns_of(self.user_columns, self.columns)

    @property
    def rule_set(self) -> RuleSet:
        """The rules of the stream with the columns that they can read."""
        return self.rules_over(self.rules)

    def rules_over(self, rules: Rules) -> RuleSet:
        """Rules with the columns that they can read: those declared, and `kafka_timestamp`."""
        exempt = f"{OPERATION.name} <=> '{DELETE}'" if self.has_deletes else ""
        return RuleSet(rules, types_of(self.columns) | RECORD_TIME, exempt)

    @property
    def format_entry(self) -> Format:
        """The entry of the format in `FORMATS`."""
        return FORMATS[self.format]


class IngestParams(Params):
    """The streams that `ingest_events` reads, and when it ends."""

    streams: Settable[tuple[str, ...] | None] = None
    """Names of declared streams; null: all."""
    trigger: Settable[str] = AVAILABLE_NOW
    """`available_now`: the job reads the records that the topics hold at the start, then ends. An
    interval in seconds or milliseconds, such as `10 seconds`: one micro-batch per interval, until
    the job is stopped."""
    batch_log_interval_seconds: Settable[float] = Field(60, gt=0)
    """Seconds between two updates of the batch log, for a stream that does not end."""
    reconcile_at_end: Settable[bool] = False
    """Whether a run ends with the check of the whole table that `matchlake reconcile` does."""
    batch_log: TableName = "bronze.ingest_batches"
    """The table with the offsets of each batch, and its counts of rows and gaps."""
    accept_data_loss: Settable[tuple[str, ...]] = ()
    """Streams that continue after the last offset read; missing offsets become a gap."""
    rewind_to: Settable[dict[str, int]] = Field(default_factory=dict)
    """Streams that delete their rows from the given batch on, and read these records again."""
    reset_checkpoint: Settable[tuple[str, ...]] = ()
    """Streams that start again at the first record of their topic, as a new stream does."""

    @field_validator("trigger")
    @classmethod
    def _validate_trigger(cls, trigger: str) -> str:
        if trigger != AVAILABLE_NOW and not re.fullmatch(r"\d+ (milli)?seconds?", trigger):
            raise ValueError(
                f"trigger must be {AVAILABLE_NOW} or an interval in seconds or milliseconds, such "
                "as `10 seconds`"
            )
        return trigger


class ReconcileParams(Params):
    """What `reconcile` checks."""

    streams: Settable[tuple[str, ...] | None] = None
    """Names of the streams; null: all."""
    rebuild: Settable[bool] = False
    """Whether to write the batch log again from the tables first."""


class ReplayParams(Params):
    """What `replay_quarantine` parses again. An empty text counts as null."""

    stream: Settable[str | None] = None
    """Name of the stream."""
    error_codes: Settable[tuple[str, ...]] = ()
    """Only records with one of these error codes; empty: all."""
    since: Settable[str | None] = None
    """Only records with a `kafka_timestamp` at or after this ISO 8601 time, UTC."""
    fix: Settable[str | None] = None
    """SQL expression of the text to parse instead of `value`. It can use the columns `value`,
    `key`, `_error_code` and `_error_message`, and calls only harmless functions."""

    @field_validator("stream", "since", "fix")
    @classmethod
    def _empty_is_null(cls, text: str | None) -> str | None:
        return text or None

    @field_validator("fix")
    @classmethod
    def _validate_fix(cls, sql: str | None) -> str | None:
        return sql and check_expression(sql)

    @field_validator("error_codes")
    @classmethod
    def _without_empty(cls, codes: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(filter(None, codes))


class EraseParams(Params):
    """The user that `erase_user` erases."""

    user_id: Settable[str | None] = Field(None, repr=False)
    """The user's `user_id`, as text."""
    include_unparsed_matches: Settable[bool] = False
    """Whether to erase also quarantined records that hold the id anywhere."""
    delete_model_versions: Settable[bool] = False
    """Whether to delete the registered model versions that hold the user and have no alias."""
    salt: SecretRef | None = None
    """The secret that is the salt of the hashes in `silver.erased_users`. It must never change."""
    hash_file: str | None = None
    """A file, or a file in a volume, with the same hashes for processes without Spark: `matchlake
    serve` and `serve-stream`. null: erased_users.json in `lakehouse`, or none without it."""

    @field_validator("user_id", mode="before")
    @classmethod
    def _is_text(cls, user_id: object) -> object:
        if user_id is not None and not isinstance(user_id, str):  # 007 would become 7
            raise ValueError("the id must be text: pass it as --user-id ID, or quote it in YAML")
        return user_id


class SilverTable(Params):
    """The silver table of one stream."""

    stream: str
    """The stream, as `streams` names it."""
    table: str
    """The table of its valid records, one row per key."""
    comment: str
    """The comment of the table."""
    keys: tuple[str, ...] = Field(min_length=1)
    """The key columns. Of records with the same key, only the last is kept: that with the highest
    offset of its partition; between partitions that with the greatest `kafka_timestamp`."""
    rules: Rules = Field(default_factory=dict)
    """Conditions over the columns of the stream and `kafka_timestamp`, by name. A record that
    breaks one with quarantine is left out before the last record per key is chosen."""

    @field_validator("table")
    @classmethod
    def _validate_table_name(cls, name: str) -> str:
        return checked_name(name, 2)


class InteractionsSource(Params):
    """The columns of one silver table that become interactions; the event time is its stream's."""

    user_id: str = "user_id"
    """The required column with the user's key."""
    item_id: str = "item_id"
    """The required column with the item's key."""
    rating: str | None = None
    """SQL expression over the columns of the table: the rating of an event, such as a column or
    `quantity * 5`. It calls only harmless functions. null: every event has the rating 1."""

    @field_validator("rating")
    @classmethod
    def _validate_rating(cls, sql: str | None) -> str | None:
        return sql and check_expression(sql)


class InteractionsParams(Params):
    """How the events of silver tables become one row per user and item."""

    sources: dict[str, InteractionsSource] = Field(min_length=1)
    """The sources, by the names of their silver tables in `silver.tables`."""
    aggregation: Literal["last", "sum", "count", "max"] = "last"
    """The rating of a pair: that of its last event, the sum or the maximum of its ratings, or the
    number of its events."""
    half_life_days: float | None = Field(None, gt=0)
    """The rating of an event halves per this number of days before the reference time; null: it
    does not depend on its age."""
    reference_time: datetime | None = None
    """The time at which and after which a rating counts in full; a time without a zone is UTC.
    null: the time of the newest event."""

    @field_validator("reference_time")
    @classmethod
    def _in_a_zone(cls, time: datetime | None) -> datetime | None:
        return in_a_zone(time)

    @model_validator(mode="after")
    def _validate_use(self) -> Self:
        rated = [name for name, source in self.sources.items() if source.rating is not None]
        if self.aggregation == "count" and rated:
            raise ValueError(
                f"aggregation count counts events, so leave out the rating of {', '.join(rated)}, "
                "or choose sum"
            )
        if self.reference_time and self.half_life_days is None:
            raise ValueError("reference_time is used only with half_life_days")
        return self


def in_a_zone(time: datetime | None) -> datetime | None:
    """The time in its zone; without a zone it is UTC."""
    return time.replace(tzinfo=UTC) if time and time.tzinfo is None else time


class SilverParams(Params):
    """The tables that `build_silver` writes, and the range of time that it rebuilds."""

    tables: dict[str, SilverTable] = Field(default_factory=dict)
    """The silver tables by name."""
    interactions: InteractionsParams | None = None
    """The sources of `silver.interactions`; null: the table is not built."""
    rebuild_from: Settable[datetime | None] = None
    """The start of the range that is rebuilt from bronze; a time without a zone is UTC."""
    until: Settable[datetime | None] = None
    """The end of the rebuilt range, exclusive."""

    @field_validator("rebuild_from", "until")
    @classmethod
    def _in_a_zone(cls, time: datetime | None) -> datetime | None:
        return in_a_zone(time)

    @model_validator(mode="after")
    def _validate_range(self) -> Self:
        if (self.rebuild_from is None) != (self.until is None):
            raise ValueError("set both rebuild_from and until, or neither")
        if self.rebuild_from and self.until and self.rebuild_from >= self.until:
            raise ValueError("rebuild_from has to be before until")
        return self

    @model_validator(mode="after")
    def _validate_interactions(self) -> Self:
        streams: dict[str, str] = {}
        for name in self.interactions.sources if self.interactions else ():
            if name not in self.tables:
                raise ValueError(
                    f"interactions.sources {name} is not a silver table: silver.tables declares "
                    f"{', '.join(self.tables) or 'none'}"
                )
            stream = self.tables[name].stream
            if stream in streams:
                raise ValueError(
                    f"interactions.sources {streams[stream]} and {name} have the same stream "
                    f"{stream}, so each event would count twice"
                )
            streams[stream] = name
        return self
