"""Parses events of a JSON stream by Spark SQL, for queries in which no Python may run.

The SQL reads valid events as `ingest_events` does. It is less exact about invalid ones: it
rejects an event if a field has another type, but does not give the position of the error.
"""

from collections.abc import Iterator
from typing import Any

from matchlake.formulas.sql import SPARK
from matchlake.ingest.columns import ColumnParams
from matchlake.ingest.params import StreamParams
from matchlake.ingest.parse.paths import path_of
from matchlake.ingest.rejections import ErrorCode

PARSED, CORRUPT = "_parsed", "_corrupt"
_EPOCH = {"s": "timestamp_seconds", "ms": "timestamp_millis", "us": "timestamp_micros"}


def python_reason(stream: StreamParams) -> str | None:
    """Why SQL cannot read the stream, as a part of a sentence; None if SQL can."""
    if stream.format != "json":
        return f"the format {stream.format} is read by Python"
    if stream.change_data != "none":
        return f"change_data {stream.change_data} is read by Python"
    if stream.rules:
        return "the stream has rules, which are checked after the record is read by Python"
    return None


def parse_sql(stream: StreamParams) -> str:
    """SQL of the struct of an event, from the binary column `value`."""
    tree: dict[str, Any] = {}
    for name, column in stream.columns.items():
        node = tree
        *above, last = path_of(name, column)
        for key in above:
            node = node.setdefault(key, {})
        node[last] = "BIGINT" if column.epoch else column.type.upper()
    fields = f"{_fields(tree, ' ')}, {CORRUPT} STRING"
    options = f"map('mode', 'PERMISSIVE', 'columnNameOfCorruptRecord', '{CORRUPT}')"
    return f"from_json(CAST(value AS STRING), {SPARK.text(fields)}, {options})"


def _fields(tree: dict[str, Any], colon: str) -> str:
    return ", ".join(
        f"{SPARK.identifier(name)}{colon}"
        + (f"STRUCT<{_fields(each, ': ')}>" if isinstance(each, dict) else each)
        for name, each in tree.items()
    )


def column_sql(stream: StreamParams) -> dict[str, str]:
    """SQL of each declared column, from the struct `_parsed`."""
    found = {}
    for name, column in stream.columns.items():
        path = ".".join(SPARK.identifier(key) for key in path_of(name, column))
        value = f"{PARSED}.{path}"
        found[name] = f"{_EPOCH[column.epoch]}({value})" if column.epoch else value
    return found


def rejection_sql(stream: StreamParams) -> str:
    """SQL of the error code of an event and its column; null for a valid one.

    It reads `_value`, `_parsed` and the declared columns, none of which begins with `_`.
    """
    limit = stream.limits.max_value_bytes
    cases = [("_value IS NULL", ErrorCode.TOMBSTONE.value)]
    cases += [(f"length(_value) > {limit}", ErrorCode.VALUE_TOO_LARGE.value)] if limit else []
    cases.append((f"{PARSED} IS NULL OR {PARSED}.{CORRUPT} IS NOT NULL", ErrorCode.MALFORMED_JSON))
    for name, column in stream.columns.items():
        cases += ((when, f"{code}: {name}") for when, code in _limits(name, column))
    listed = (f"WHEN {when} THEN {SPARK.text(str(code))}" for when, code in cases)
    return f"CASE {' '.join(listed)} END"


def _limits(name: str, column: ColumnParams) -> Iterator[tuple[str, ErrorCode]]:
    value = SPARK.identifier(name)
    if column.required:
        yield f"{value} IS NULL", ErrorCode.NULL_FIELD
    if column.min is not None:
        yield f"{value} < {column.min!r}", ErrorCode.OUT_OF_RANGE
    if column.max is not None:
        yield f"{value} > {column.max!r}", ErrorCode.OUT_OF_RANGE
    if column.one_of:
        listed = ", ".join(map(SPARK.text, column.one_of))
        yield f"{value} NOT IN ({listed})", ErrorCode.NOT_ALLOWED
