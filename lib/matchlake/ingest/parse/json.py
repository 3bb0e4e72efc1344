"""Reads batches of JSON values with Arrow, so that no value can run into the next.

They come as lines, each a value and a newline, and are read in one go, as they lie. Two things
make that safe. Every value among them begins with `{` and ends with `}`, and a newline cannot stand
inside a JSON string. So where Arrow reads the whole without an error, no object can span a newline:
inside an object, what follows a `}` must be a comma or a closing bracket, and there stands a `{`.
Each value is therefore one object or more, and when there are as many objects as values, exactly
one. (Arrow takes a NUL byte for the end and NaN for a number, so values with those are kept out.)

Where the whole cannot be read, Python's own reader tells the values that are at fault, and Arrow
reads the others. Arrow alone decides what is accepted: a value's fate never depends on others.
"""

import re
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json

from matchlake.ingest.params import Columns
from matchlake.ingest.parse.casts import ARROW, places_among
from matchlake.ingest.parse.json_errors import Judge, path_of
from matchlake.ingest.reasons import Finding, Reason

Rows = npt.NDArray[np.int64]

_SPACE = b" \t\r\n"
_NOT_A_NUMBER = re.compile(rb"[:,\[\-]\s*(?:NaN|Inf)")
_AT_ONCE = 64 * 2**20
_READ_AS = {
    "int": pa.int64(),
    "timestamp": pa.string(),
    "date": pa.string(),
}


class _Piece(NamedTuple):
    """Values that were read together: their rows, and a column of each declared name."""

    rows: Rows
    columns: dict[str, pa.Array]


class JsonReader:
    """Reads values as the declared columns; remembers which of them come as integers."""

    def __init__(self, columns: Columns) -> None:
        self._columns = columns
        self._paths = {name: path_of(name, column) for name, column in columns.items()}
        self._judge = Judge(columns)
        self._integers: frozenset[str] = frozenset()

    def read(self, lines: pa.Array) -> tuple[dict[str, pa.Array], dict[int, Finding]]:
        """The columns as JSON has them, and the rows that could not be read, with the reason.

        Texts and times are strings, integers are 64-bit; a field that is missing or null is null,
        and so is every field of a row that could not be read.

        Args:
            lines: binary, one JSON object each and a newline; null for a message without a value.
        """
        lines = lines.cast(pa.large_binary())
        findings: dict[int, Finding] = {}
        rows = self._objects(lines, findings)
        pieces = [
            piece for some in _shares(lines, rows) for piece in self._some(lines, some, findings)
        ]
        return self._put_together(pieces, len(lines)), findings

    def why_null(self, lines: pa.Array, row: int, name: str) -> Reason:
        """Whether a column that is null in a row's value is missing there, or null."""
        return self._judge.why_null(lines[row].as_py(), name)

    def _objects(self, lines: pa.Array, findings: dict[int, Finding]) -> Rows:
        """The rows that begin and end as an object does; the others become findings."""
        likely = _in_braces(lines)
        for row in np.flatnonzero(~likely):
            raw = _value(lines[row].as_py())
            text = (raw or b"").strip(_SPACE)
            if text.startswith(b"{") and text.endswith(b"}"):
                likely[row] = True
            else:
                findings[int(row)] = self._judge.refuse(raw)
        return np.flatnonzero(likely)

    def _some(self, lines: pa.Array, rows: Rows, findings: dict[int, Finding]) -> list[_Piece]:
        text = _text(lines, rows)
        if _is_clean(text):
            columns, _ = self._parse(text, len(rows), self._integers)
            if columns is not None:
                return [_Piece(rows, columns)]
        alike: dict[frozenset[str], list[int]] = {}
        for row, line in zip(rows, _take(lines, rows).to_pylist(), strict=True):
            verdict = self._judge.judge(_value(line))
            if isinstance(verdict, Finding):
                findings[int(row)] = verdict
            else:
                alike.setdefault(verdict, []).append(row)
        if alike:
            self._integers = max(alike, key=lambda integers: len(alike[integers]))
        return [
            piece
            for integers, those in alike.items()
            for piece in self._halves(lines, np.array(those), integers, findings)
        ]

    def _halves(
        self, lines: pa.Array, rows: Rows, integers: frozenset[str], findings: dict[int, Finding]
    ) -> Iterable[_Piece]:
        """Reads what Python had nothing against; what Arrow still refuses is found by halving."""
        waiting = [rows]
        while waiting:
            rows = waiting.pop()
            columns, why = self._parse(_text(lines, rows), len(rows), integers)
            if columns is not None:
                yield _Piece(rows, columns)
            elif len(rows) == 1:
                findings[int(rows[0])] = Finding(Reason.MALFORMED_JSON, why)
            else:
                waiting += [rows[len(rows) // 2 :], rows[: len(rows) // 2]]

    def _parse(
        self, text: bytes, count: int, integers: frozenset[str]
    ) -> tuple[dict[str, pa.Array] | None, str]:
        """The columns of `count` objects; None, and why, where the text is not just that."""
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
        return _READ_AS.get(column.type, ARROW[column.type])

    def _put_together(self, pieces: list[_Piece], count: int) -> dict[str, pa.Array]:
        if len(pieces) == 1 and len(pieces[0].rows) == count:
            return pieces[0].columns
        types = {name: self._read_as(name, frozenset()) for name in self._columns}
        if not pieces:
            return {name: pa.nulls(count, kind) for name, kind in types.items()}
        order = np.concatenate([piece.rows for piece in pieces])
        indices = places_among(order, count)
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
    """Of which lines the value has `{` as its first and `}` as its last byte."""
    bounds, data = _bytes(lines)
    if not len(data):
        return np.zeros(len(lines), bool)
    text = np.frombuffer(data, np.uint8)
    likely: npt.NDArray[np.bool_] = np.diff(bounds) > len("{}")
    likely &= text[np.minimum(bounds[:-1], len(text) - 1)] == ord("{")
    likely &= text[bounds[1:] - len("}\n")] == ord("}")
    return likely


def _shares(lines: pa.Array, rows: Rows) -> list[Rows]:
    """The rows, cut so that the lines of a share are not much more than `_AT_ONCE` bytes."""
    if not len(rows):
        return []
    sizes = np.diff(_bytes(lines)[0])[rows]
    share = np.cumsum(sizes) // _AT_ONCE
    return np.split(rows, np.flatnonzero(np.diff(share)) + 1)


def _take(lines: pa.Array, rows: Rows) -> pa.Array:
    return lines if len(rows) == len(lines) else lines.take(pa.array(rows))


def _text(lines: pa.Array, rows: Rows) -> bytes:
    bounds, data = _bytes(_take(lines, rows))
    return bytes(data[bounds[0] : bounds[-1]])


def _bytes(lines: pa.Array) -> tuple[Rows, memoryview]:
    """Where each line begins, and the last one ends, in the bytes of all; a null has no bytes."""
    _, offsets, data = lines.buffers()
    bounds = np.frombuffer(offsets, np.int64) if offsets else np.zeros(1, np.int64)
    return bounds[lines.offset : lines.offset + len(lines) + 1], memoryview(data or b"")


def _value(line: bytes | None) -> bytes | None:
    return line and line.removesuffix(b"\n")


def _may_have_nan(text: bytes) -> bool:
    """Looks for one letter first: that is thirty times as fast as looking for a word."""
    return (b"N" in text and b"NaN" in text) or (b"I" in text and b"Inf" in text)


def _is_clean(text: bytes) -> bool:
    """Whether the text is UTF-8 and free of what Arrow would read, but JSON does not have."""
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
