"""Reads values one by one, for formats that have no reader of whole batches.

A decoder turns the bytes of one value into a record, or says what is wrong with them. So one bad
value never touches another, and every value gives exactly one row or one finding.
"""

import datetime as dt
import json
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any
from uuid import UUID

import pyarrow as pa

from matchlake.ingest.params import ColumnParams, Columns
from matchlake.ingest.parse.casts import ARROW
from matchlake.ingest.parse.json_errors import path_of
from matchlake.ingest.reasons import Finding, Reason

Record = Mapping[str, Any]
Decoder = Callable[[bytes], Record | Finding]

_MICROS = {"s": 1_000_000, "ms": 1_000, "us": 1}
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_INT64 = range(-(2**63), 2**63)
_SHOWN = 40


class RecordReader:
    """Reads values as the declared columns, with a decoder of single values.

    `typed` tells whether the decoder gives values of types, or texts that are yet to become so.
    """

    def __init__(
        self, columns: Columns, decode: Decoder, undeclared: str = "ignore", *, typed: bool = True
    ) -> None:
        self._columns = columns
        self._paths = {name: path_of(name, column) for name, column in columns.items()}
        self._decode = decode
        self._undeclared = undeclared
        self._typed = typed
        self._tree = declared_tree(columns)
        self.rescued: dict[int, str] = {}
        """The fields of the last batch that are not declared, as JSON, by row."""

    def read(self, values: pa.Array) -> tuple[dict[str, pa.Array], dict[int, Finding]]:
        """The columns in about their types, and the rows that could not be read, with the reason.

        A field that is missing or null is null, and so is every field of a row with a finding.

        Args:
            values: binary; null for a message without a value.
        """
        findings: dict[int, Finding] = {}
        self.rescued = {}
        found: dict[str, list[Any]] = {name: [] for name in self._columns}
        for row, raw in enumerate(values.to_pylist()):
            read = self._one(raw, row)
            if isinstance(read, Finding):
                findings[row] = read
                read = {}
            for name, column in found.items():
                column.append(read.get(name))
        return {name: self._array(name, column) for name, column in found.items()}, findings

    def why_null(self, values: pa.Array, row: int, name: str) -> Reason:
        """Whether a column that is null in a row's value is missing there, or null."""
        node: Any = self._decode(values[row].as_py())
        for key in self._paths[name]:
            if not isinstance(node, Mapping) or key not in node:
                return Reason.MISSING_FIELD
            node = node[key]
        return Reason.NULL_FIELD

    def _one(self, raw: bytes | None, row: int) -> Record | Finding:
        if raw is None:
            return Finding(Reason.TOMBSTONE, "the message has no value")
        record = self._decode(raw)
        if isinstance(record, Finding):
            return record
        read = {}
        for name, path in self._paths.items():
            value = _at(record, path)
            given = _as_declared(value, self._columns[name]) if self._typed else value
            if isinstance(given, Finding):
                return given._replace(detail=f"{name}: {given.detail}")
            read[name] = given
        if self._undeclared != "ignore" and (more := beyond(record, self._tree)):
            if self._undeclared == "refuse":
                return unknown_fields(more)
            self.rescued[row] = as_text(more)
        return read

    def _array(self, name: str, values: list[Any]) -> pa.Array:
        kind = self._columns[name].type if self._typed else "string"
        return pa.array(values, pa.int64() if kind == "int" else ARROW[kind])


def declared_tree(columns: Columns) -> dict[str, Any]:
    """The fields that declared columns are read from, nested as they are in a record."""
    tree: dict[str, Any] = {}
    for name, column in columns.items():
        *above, last = path_of(name, column)
        node = tree
        for key in above:
            node = node.setdefault(key, {})
        node[last] = {}
    return tree


def beyond(record: Record, tree: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a record that no declared column is read from."""
    more: dict[str, Any] = {}
    for key, value in record.items():
        if key not in tree:
            more[key] = value
        elif tree[key] and isinstance(value, Mapping) and (inside := beyond(value, tree[key])):
            more[key] = inside
    return more


def unknown_fields(more: Record) -> Finding:
    """The finding for a record with fields that are not declared."""
    return Finding(Reason.UNKNOWN_FIELD, f"not declared: {', '.join(map(str, more))}")


def as_text(more: Record) -> str:
    """Fields as JSON, whatever they hold."""
    return json.dumps(more, ensure_ascii=False, default=_shown)


def _at(record: Record, path: tuple[str, ...]) -> Any:
    node: Any = record
    for key in path:
        if not isinstance(node, Mapping):
            return None
        node = node.get(key)
    return node


def _as_declared(value: Any, column: ColumnParams) -> Any:
    """The value as Arrow takes it for the column's type, or what is wrong with it."""
    if value is None:
        return None
    if column.type in ("int", "bigint") and _whole(value) and value not in _INT64:
        return Finding(Reason.OUT_OF_RANGE, f"{value} is no 64-bit integer")
    given = _AS[column.type](value) if not column.epoch else _instant(value, column.epoch)
    if given is None:
        return Finding(Reason.WRONG_TYPE, f"{_shown(value)} is no {column.type}")
    return given


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _number(value: Any) -> float | None:
    return float(value) if _whole(value) or isinstance(value, float | Decimal) else None


def _texts(value: Any) -> list[str | None] | None:
    fits = isinstance(value, list | tuple)
    return list(value) if fits and all(v is None or isinstance(v, str) for v in value) else None


def _instant(value: Any, epoch: str | None = None) -> dt.datetime | None:
    if isinstance(value, str):
        try:
            value = dt.datetime.fromisoformat(value)
        except ValueError:
            return None
    if isinstance(value, dt.datetime):
        return value if value.tzinfo else value.replace(tzinfo=dt.UTC)
    if epoch and _number(value) is not None:
        try:
            return _EPOCH + dt.timedelta(microseconds=round(value * _MICROS[epoch]))
        except (OverflowError, ValueError):
            return None
    return None


def _date(value: Any) -> dt.date | None:
    if isinstance(value, dt.datetime) or not isinstance(value, dt.date | str):
        return None
    try:
        return dt.date.fromisoformat(value) if isinstance(value, str) else value
    except ValueError:
        return None


def _shown(value: Any) -> str:
    text = value.hex() if isinstance(value, bytes) else str(value)
    text = repr(value) if isinstance(value, str) else text
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


_AS: dict[str, Callable[[Any], Any]] = {
    "string": lambda value: str(value) if isinstance(value, str | UUID) or _whole(value) else None,
    "int": lambda value: value if _whole(value) else None,
    "bigint": lambda value: value if _whole(value) else None,
    "double": _number,
    "boolean": lambda value: value if isinstance(value, bool) else None,
    "timestamp": _instant,
    "date": _date,
    "array<string>": _texts,
}
