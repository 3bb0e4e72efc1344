"""Reads values one by one, for formats without a reader of whole batches.

A decoder turns the bytes of one value into a record or a rejection. So an invalid value never
affects another one, and every value gives exactly one row or one rejection.
"""

import datetime as dt
import json
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any
from uuid import UUID

import pyarrow as pa

from matchlake.ingest.columns import ColumnParams, Columns, decimal_digits
from matchlake.ingest.parse.casts import ARROW
from matchlake.ingest.parse.decimals import exact_decimal
from matchlake.ingest.parse.paths import declared_tree, path_of
from matchlake.ingest.rejections import ErrorCode, Rejection

Record = Mapping[str, Any]
Decoder = Callable[[bytes], Record | Rejection]

_MICROS = {"s": 1_000_000, "ms": 1_000, "us": 1}
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_INT64 = range(-(2**63), 2**63)
_SHOWN = 40


class RecordReader:
    """Reads values as the declared columns, with a decoder of single values.

    `typed` says whether the decoder gives typed values, or texts to be cast later.
    """

    def __init__(
        self,
        columns: Columns,
        decode: Decoder,
        unknown_fields: str = "ignore",
        *,
        typed: bool = True,
    ) -> None:
        self._columns = columns
        self._paths = {name: path_of(name, column) for name, column in columns.items()}
        self._decode = decode
        self._unknown_fields = unknown_fields
        self._typed = typed
        self._tree = declared_tree(columns)
        self.rescued: dict[int, str] = {}
        """The undeclared fields of the last batch, as JSON, by row."""

    def read(self, values: pa.Array) -> tuple[dict[str, pa.Array], dict[int, Rejection]]:
        """The columns in types close to the declared ones, and the rejections by row.

        A missing field is null, and so is every field of a row with a rejection.

        Args:
            values: binary; null for a message without a value.
        """
        rejections: dict[int, Rejection] = {}
        self.rescued = {}
        values_by_column: dict[str, list[Any]] = {name: [] for name in self._columns}
        for row, raw in enumerate(values.to_pylist()):
            read = self._one(raw, row)
            if isinstance(read, Rejection):
                rejections[row] = read
                read = {}
            for name, column in values_by_column.items():
                column.append(read.get(name))
        return {
            name: self._array(name, column) for name, column in values_by_column.items()
        }, rejections

    def why_null(self, values: pa.Array, row: int, name: str) -> ErrorCode:
        """Whether the field of a null column is missing in the value, or null."""
        node: Any = self._decode(values[row].as_py())
        for key in self._paths[name]:
            if not isinstance(node, Mapping) or key not in node:
                return ErrorCode.MISSING_FIELD
            node = node[key]
        return ErrorCode.NULL_FIELD

    def _one(self, raw: bytes | None, row: int) -> Record | Rejection:
        if raw is None:
            return Rejection(ErrorCode.TOMBSTONE, "the message has no value")
        record = self._decode(raw)
        if isinstance(record, Rejection):
            return record
        read = {}
        for name, path in self._paths.items():
            value = _at(record, path)
            cast = _as_declared(value, self._columns[name]) if self._typed else value
            if isinstance(cast, Rejection):
                return cast._replace(message=f"{name}: {cast.message}")
            read[name] = cast
        if self._unknown_fields != "ignore" and (more := undeclared_fields(record, self._tree)):
            if self._unknown_fields == "quarantine":
                return unknown_field_rejection(more)
            self.rescued[row] = as_text(more)
        return read

    def _array(self, name: str, values: list[Any]) -> pa.Array:
        kind = self._columns[name].type if self._typed else "string"
        return pa.array(values, pa.int64() if kind == "int" else ARROW[kind])


def undeclared_fields(record: Record, tree: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a record that no declared column reads."""
    more: dict[str, Any] = {}
    for key, value in record.items():
        if key not in tree:
            more[key] = value
        elif (
            tree[key]
            and isinstance(value, Mapping)
            and (inside := undeclared_fields(value, tree[key]))
        ):
            more[key] = inside
    return more


def unknown_field_rejection(more: Record) -> Rejection:
    """The rejection of a record with undeclared fields."""
    return Rejection(ErrorCode.UNKNOWN_FIELD, f"not declared: {', '.join(map(str, more))}")


def as_text(more: Record) -> str:
    """Fields as JSON; values that JSON does not have become text."""
    return json.dumps(more, ensure_ascii=False, default=_shown)


def _at(record: Record, path: tuple[str, ...]) -> Any:
    node: Any = record
    for key in path:
        if not isinstance(node, Mapping):
            return None
        node = node.get(key)
    return node


def _as_declared(value: Any, column: ColumnParams) -> Any:
    """The value as Arrow takes it for the type of the column, or a rejection."""
    if value is None:
        return None
    if column.type in ("int", "bigint") and _whole(value) and value not in _INT64:
        return Rejection(ErrorCode.OUT_OF_RANGE, f"{value} is not a 64-bit integer")
    if digits := decimal_digits(column.type):
        cast: Any = exact_decimal(value, *digits)
    else:
        cast = _AS[column.type](value) if not column.epoch else _instant(value, column.epoch)
    if cast is None:
        return Rejection(ErrorCode.WRONG_TYPE, f"{_shown(value)} is not a valid {column.type}")
    return cast


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
