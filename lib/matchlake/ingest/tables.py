"""The bronze tables of streams, and the views of their valid and quarantined records."""

from collections.abc import Iterator
from decimal import Decimal

from matchlake.ingest.columns import ColumnParams, Columns, decimal_digits
from matchlake.ingest.params import StreamParams
from matchlake.ingest.schema import (
    BATCH,
    ERASED,
    ERROR_COLUMNS,
    OPERATION,
    POSITION,
    QUARANTINED,
    RAW,
    RESCUED,
    STATUS,
    VALID,
)
from matchlake.schemas import Column, TableSpec, ViewSpec, quote_identifier, quote_text

_RECORDS = (
    ("known_status", f"_status IN ('{VALID}', '{QUARANTINED}', '{ERASED}')"),
    ("quarantined_with_code", f"_status <> '{QUARANTINED}' OR _error_code IS NOT NULL"),
)
_STATISTICS = ("_status", "partition", "offset", "kafka_timestamp", "batch_id")
_TEXT = ("text", "The value as text; bytes that are not UTF-8 are replaced")


def declared_columns(columns: Columns) -> tuple[Column, ...]:
    """The declared columns of a table; they are null in quarantined records."""
    return tuple(Column(name, p.type.upper(), p.comment) for name, p in columns.items())


def stream_columns(stream: StreamParams) -> tuple[Column, ...]:
    """The columns of record content: the declared ones, and `_rescued_data` if it is on."""
    rescued = (RESCUED,) if stream.unknown_fields == "rescue" else ()
    return (*declared_columns(stream.columns), *rescued)


def record_columns(stream: StreamParams) -> tuple[Column, ...]:
    """The columns that a valid record fills: `stream_columns`, and `_operation` if it is on."""
    return (*stream_columns(stream), *((OPERATION,) if stream.has_deletes else ()))


def valid_columns(stream: StreamParams) -> tuple[Column, ...]:
    """The columns of a valid record: `record_columns`, and `_warnings` if a rule has `warn`."""
    return (*record_columns(stream), *stream.rule_set.table_columns)


def stream_table(stream: StreamParams) -> TableSpec:
    """The table of a stream: status, declared columns, Kafka position, error, raw, batch."""
    return TableSpec(
        stream.table,
        f"{stream.comment} Every record of topic {stream.topic}, valid or quarantined.",
        (STATUS, *valid_columns(stream), *POSITION, *ERROR_COLUMNS, RAW, *BATCH),
        checks=_RECORDS,
        changes=True,
        statistics=(*_STATISTICS, *filter(None, [stream.event_time])),
        user_columns=stream.persons,
        written_by="ingest_events",
    )


def stream_views(stream: StreamParams) -> list[ViewSpec]:
    """The view of the valid records of a stream, and the view of its quarantined ones."""
    valid = _described((*valid_columns(stream), *POSITION))
    quarantined = _described((*POSITION, *ERROR_COLUMNS, RAW, *BATCH))
    return [
        ViewSpec(
            stream.valid_view,
            f"{stream.comment} The valid records of {stream.table}.",
            valid,
            _select([name for name, _ in valid], stream.table, VALID),
            (stream.table,),
        ),
        ViewSpec(
            stream.quarantine_view,
            f"The quarantined records of {stream.table}, with error and raw bytes.",
            (*quarantined, _TEXT),
            _select(
                [name for name, _ in quarantined],
                stream.table,
                QUARANTINED,
                ", make_valid_utf8(CAST(raw.value AS STRING)) AS text",
            ),
            (stream.table,),
        ),
    ]


def allowed_values(columns: Columns) -> Iterator[tuple[str, str]]:
    """A name and an SQL condition for each declared range and list of texts."""
    for name, column in columns.items():
        quoted = quote_identifier(name)
        rules = [f"{quoted} >= {_bound(column.min, column)}"] if column.min is not None else []
        rules += [f"{quoted} <= {_bound(column.max, column)}"] if column.max is not None else []
        if column.one_of:
            rules += [f"{quoted} IN ({', '.join(map(quote_text, column.one_of))})"]
        if rules:
            yield f"{name.lower()}_allowed", f"{quoted} IS NULL OR ({' AND '.join(rules)})"


def _bound(bound: float, column: ColumnParams) -> str:
    """The bound in SQL; without an exponent for a decimal, which would become a double."""
    return f"{Decimal(repr(bound)):f}" if decimal_digits(column.type) else repr(bound)


def _described(columns: tuple[Column, ...]) -> tuple[tuple[str, str], ...]:
    return tuple((column.name, column.comment) for column in columns)


def _select(names: list[str], table: str, status: str, more: str = "") -> str:
    listed = ", ".join(quote_identifier(name) for name in names)
    return f"SELECT {listed}{more} FROM {table} WHERE {STATUS.name} = '{status}'"
