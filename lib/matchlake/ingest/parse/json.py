"""Reads batches of JSON values with Arrow, so that no value can run into the next.

The values come as lines: each line is one value and a newline. Arrow reads all lines in one call.
This is safe for two reasons.

1. Every value begins with `{` and ends with `}`, and a JSON string holds no raw newline. Suppose
   that Arrow reads the whole text without an error. Then no object spans a newline: inside an
   object, a comma or a closing bracket must follow `}`, but the next line begins with `{`.
2. So each value is one object or more. If the text holds as many objects as values, each value is
   exactly one object.

Arrow takes a NUL byte for the end and NaN for a number, so values with those are kept out.

If the whole text cannot be read, Python's own reader finds the invalid values, and Arrow reads the
others. Arrow alone decides what is valid, so the result of a value never depends on other values.
"""

import re
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json

from matchlake.ingest.columns import Columns
from matchlake.ingest.parse.casts import ARROW, indices_among
from matchlake.ingest.parse.decimals import WIDE
from matchlake.ingest.parse.json_errors import JsonValidator
from matchlake.ingest.parse.paths import path_of
from matchlake.ingest.rejections import ErrorCode, Rejection

Rows = npt.NDArray[np.int64]

_SPACE = b" \t\r\n"
_NOT_A_NUMBER = re.compile(rb"[:,\[\-]\s*(?:NaN|Inf)")
_AT_ONCE = 64 * 2**20
_MANY = 16
"""If more than 1 in 16 values fail, the other values are read one by one."""
_READ_AS = {
    "int": pa.int64(),
    "timestamp": pa.string(),
    "date": pa.string(),
}


class _Piece(NamedTuple):
    """Values that were read together: their rows, and one column per declared name."""

    rows: Rows
    columns: dict[str, pa.Array]


class JsonReader:
    """Reads values as the declared columns; keeps the string columns that hold integers."""

    def __init__(self, columns: Columns) -> None:
        self._columns = columns
        self._paths = {name: path_of(name, column) for name, column in columns.items()}
        self._validator = JsonValidator(columns)
        self._integers: frozenset[str] = frozenset()

    def read(self, lines: pa.Array) -> tuple[dict[str, pa.Array], dict[int, Rejection]]:
        """The columns in the types of JSON, and the rejections by row.

        Strings and times are strings, integers have 64 bits. A missing field is null, and so is
        every field of a row with a rejection.

        Args:
            lines: binary, one JSON object and a newline each; null for a message without a value.
        """
        lines = lines.cast(pa.large_binary())
        rejections: dict[int, Rejection] = {}
        rows = self._objects(lines, rejections)
        pieces = [
            piece for some in _parts(lines, rows) for piece in self._some(lines, some, rejections)
        ]
        return self._put_together(pieces, len(lines)), rejections

    def why_null(self, lines: pa.Array, row: int, name: str) -> ErrorCode:
        """Whether the field of a null column is missing in the value, or null."""
        return self._validator.why_null(lines[row].as_py(), name)

    def _objects(self, lines: pa.Array, rejections: dict[int, Rejection]) -> Rows:
        """The rows that begin and end with braces; the others become rejections."""
        likely = _in_braces(lines)
        for row in np.flatnonzero(~likely):
            raw = _value(lines[row].as_py())
            text = (raw or b"").strip(_SPACE)
            if text.startswith(b"{") and text.endswith(b"}"):
                likely[row] = True
            else:
                rejections[int(row)] = self._validator.rejection_of(raw)
        return np.flatnonzero(likely)

    def _some(self, lines: pa.Array, rows: Rows, rejections: dict[int, Rejection]) -> list[_Piece]:
        text = _text(lines, rows)
        if _is_clean(text):
            columns, _ = self._parse(text, len(rows), self._integers)
            if columns is not None:
                return [_Piece(rows, columns)]
        alike: dict[frozenset[str], list[int]] = {}
        for row, line in zip(rows, _take(lines, rows).to_pylist(), strict=True):
            result = self._validator.validate(_value(line))
            if isinstance(result, Rejection):
                rejections[int(row)] = result
            else:
                alike.setdefault(result, []).append(row)
        if alike:
            self._integers = max(alike, key=lambda integers: len(alike[integers]))
        return [
            piece
            for integers, those in alike.items()
            for piece in self._halves(lines, np.array(those), integers, rejections)
        ]

    def _halves(
        self,
        lines: pa.Array,
        rows: Rows,
        integers: frozenset[str],
        rejections: dict[int, Rejection],
    ) -> Iterable[_Piece]:
        """Reads values that Python accepts. Bisects to find values that Arrow still rejects.

        After too many rejections it reads single values, which is then faster than bisection.
        """
        waiting, failed, many = [rows], 0, len(rows) // _MANY
        while waiting:
            rows = waiting.pop()
            columns, why = self._parse(_text(lines, rows), len(rows), integers)
            if columns is not None:
                yield _Piece(rows, columns)
            elif len(rows) == 1:
                rejections[int(rows[0])] = Rejection(ErrorCode.MALFORMED_JSON, why)
                failed += 1
            else:
                waiting += np.array_split(rows, len(rows) if failed > many else 2)[::-1]

    def _parse(
        self, text: bytes, count: int, integers: frozenset[str]
    ) -> tuple[dict[str, pa.Array] | None, str]:
        """The columns of `count` objects; None and the error, if the text is anything else."""
        try:
            table = pa.json.read_json(
                pa.BufferReader(text),
                read_options=pa.json.ReadOptions(use_threads=False, block_size=len(text) + 1),
                parse_options=pa.json.ParseOptions(
                    explicit_schema=self._schema(integers), unexpected_field_behavior="ignore"
                ),
            )
        except pa.ArrowInvalid as error:
            return None, str(error).removeprefix("JSON parse error: ").partition(" in row ")[0]
        if len(table) != count:
            return None, f"{len(table)} objects where {count} were expected"
        columns = {name: _at(table, path) for name, path in self._paths.items()}
        return columns | {name: columns[name].cast(pa.string()) for name in integers}, ""

    def _schema(self, integers: frozenset[str]) -> pa.Schema:
        tree: dict[str, Any] = {}
        for name in self._columns:
            *above, last = self._paths[name]
            node = tree
            for key in above:
                node = node.setdefault(key, {})
            node[last] = self._read_as(name, integers)
        return pa.schema(_fields(tree))

    def _read_as(self, name: str, integers: frozenset[str]) -> pa.DataType:
        column = self._columns[name]
        if name in integers:
            return pa.int64()
        if column.epoch:
            return pa.float64()
        kind = _READ_AS.get(column.type, ARROW[column.type])
        return WIDE if pa.types.is_decimal(kind) else kind

    def _put_together(self, pieces: list[_Piece], count: int) -> dict[str, pa.Array]:
        if len(pieces) == 1 and len(pieces[0].rows) == count:
            return pieces[0].columns
        types = {name: self._read_as(name, frozenset()) for name in self._columns}
        if not pieces:
            return {name: pa.nulls(count, kind) for name, kind in types.items()}
        order = np.concatenate([piece.rows for piece in pieces])
        indices = indices_among(order, count)
        return {
            name: pa.concat_arrays([piece.columns[name] for piece in pieces]).take(indices)
            for name in types
        }


def _fields(tree: dict[str, Any]) -> list[pa.Field]:
    return [
        pa.field(name, pa.struct(_fields(node)) if isinstance(node, dict) else node)
        for name, node in tree.items()
    ]


def _at(table: pa.Table, path: tuple[str, ...]) -> pa.Array:
    column = table.column(path[0]).combine_chunks()
    return pc.struct_field(column, list(path[1:])) if path[1:] else column


def _in_braces(lines: pa.Array) -> npt.NDArray[np.bool_]:
    """Whether the value of each line begins with `{` and ends with `}`."""
    bounds, data = _bytes(lines)
    if not len(data):
        return np.zeros(len(lines), bool)
    text = np.frombuffer(data, np.uint8)
    likely: npt.NDArray[np.bool_] = np.diff(bounds) > len("{}")
    likely &= text[np.minimum(bounds[:-1], len(text) - 1)] == ord("{")
    likely &= text[bounds[1:] - len("}\n")] == ord("}")
    return likely


def _parts(lines: pa.Array, rows: Rows) -> list[Rows]:
    """The rows, split so that the lines of a part have about `_AT_ONCE` bytes at most."""
    if not len(rows):
        return []
    sizes = np.diff(_bytes(lines)[0])[rows]
    part = np.cumsum(sizes) // _AT_ONCE
    return np.split(rows, np.flatnonzero(np.diff(part)) + 1)


def _take(lines: pa.Array, rows: Rows) -> pa.Array:
    return lines if len(rows) == len(lines) else lines.take(pa.array(rows))


def _text(lines: pa.Array, rows: Rows) -> bytes:
    bounds, data = _bytes(_take(lines, rows))
    return bytes(data[bounds[0] : bounds[-1]])


def _bytes(lines: pa.Array) -> tuple[Rows, memoryview]:
    """The start of each line and the end of the last, and all bytes; a null has no bytes."""
    _, offsets, data = lines.buffers()
    bounds = np.frombuffer(offsets, np.int64) if offsets else np.zeros(1, np.int64)
    return bounds[lines.offset : lines.offset + len(lines) + 1], memoryview(data or b"")


def _value(line: bytes | None) -> bytes | None:
    return line and line.removesuffix(b"\n")


def _may_have_nan(text: bytes) -> bool:
    """Searches for one letter first: this is thirty times as fast as a search for a word."""
    return (b"N" in text and b"NaN" in text) or (b"I" in text and b"Inf" in text)


def _is_clean(text: bytes) -> bool:
    """Whether the text is UTF-8 without the extras that Arrow reads and JSON does not have."""
    if b"\0" in text or (_may_have_nan(text) and _NOT_A_NUMBER.search(text)):
        return False
    if text.isascii():
        return True
    ends = pa.py_buffer(np.array([0, len(text)], np.int64))
    one = pa.Array.from_buffers(pa.large_string(), 1, [None, ends, pa.py_buffer(text)])
    try:
        one.validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True
