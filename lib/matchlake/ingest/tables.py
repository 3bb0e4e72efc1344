"""The bronze tables of streams, and the views of good and bad records."""

from collections.abc import Iterator

from matchlake.ingest.params import Columns, StreamParams
from matchlake.ingest.schema import (
    BATCH,
    ERASED,
    GOOD,
    POSITION,
    QUARANTINED,
    RAW,
    REFUSAL,
    RESCUED,
    STATUS,
)
from matchlake.schemas import Column, TableSpec, ViewSpec, quote_identifier, quote_text

_RECORDS = (
    ("known_status", f"status IN ('{GOOD}', '{QUARANTINED}', '{ERASED}')"),
    ("reason_when_bad", f"status <> '{QUARANTINED}' OR reason IS NOT NULL"),
)
_PASSED_OVER_BY = ("status", "partition", "offset", "kafka_timestamp", "batch_id")
_TEXT = ("text", "The value as text, bytes that are not UTF-8 replaced")


def declared_columns(columns: Columns) -> tuple[Column, ...]:
    """The declared columns as a table holds them; null where a record is quarantined."""
    return tuple(Column(name, p.type.upper(), p.comment) for name, p in columns.items())


def stream_columns(stream: StreamParams) -> tuple[Column, ...]:
    """The columns that records fill: those declared, and `rescued` where the stream has it."""
    rescued = (RESCUED,) if stream.undeclared == "rescue" else ()
    return (*declared_columns(stream.columns), *rescued)


def stream_table(stream: StreamParams) -> TableSpec:
    """The stream's table: status, the declared columns, Kafka's position, reason, raw, batch."""
    return TableSpec(
        stream.table,
        f"{stream.comment} Every record of topic {stream.topic} as it came, good or quarantined.",
        (STATUS, *stream_columns(stream), *POSITION, *REFUSAL, RAW, *BATCH),
        checks=_RECORDS,
        changes=True,
        statistics=(*_PASSED_OVER_BY, *filter(None, [stream.event_time])),
        written_by="ingest_events",
    )


def stream_views(stream: StreamParams) -> list[ViewSpec]:
    """The view of the stream's good records and that of its bad ones."""
    good = _described((*stream_columns(stream), *POSITION))
    bad = _described((*POSITION, *REFUSAL, RAW, *BATCH))
    return [
        ViewSpec(
            stream.good_view,
            f"{stream.comment} The good records of {stream.table}.",
            good,
            _select([name for name, _ in good], stream.table, GOOD),
            (stream.table,),
        ),
        ViewSpec(
            stream.quarantine_view,
            f"The records of {stream.table} that were refused, with reason and raw bytes.",
            (*bad, _TEXT),
            _select(
                [name for name, _ in bad],
                stream.table,
                QUARANTINED,
                ", make_valid_utf8(CAST(raw.value AS STRING)) AS text",
            ),
            (stream.table,),
        ),
    ]


def allowed_values(columns: Columns) -> Iterator[tuple[str, str]]:
    """For each declared range and list of texts, the name and the SQL of what holds of a row."""
    for name, column in columns.items():
        quoted = quote_identifier(name)
        rules = [f"{quoted} >= {column.min!r}"] if column.min is not None else []
        rules += [f"{quoted} <= {column.max!r}"] if column.max is not None else []
        if column.one_of:
            rules += [f"{quoted} IN ({', '.join(map(quote_text, column.one_of))})"]
        if rules:
            yield f"{name.lower()}_allowed", f"{quoted} IS NULL OR ({' AND '.join(rules)})"


def _described(columns: tuple[Column, ...]) -> tuple[tuple[str, str], ...]:
    return tuple((column.name, column.comment) for column in columns)


def _select(names: list[str], table: str, status: str, more: str = "") -> str:
    listed = ", ".join(quote_identifier(name) for name in names)
    return f"SELECT {listed}{more} FROM {table} WHERE {STATUS.name} = '{status}'"
