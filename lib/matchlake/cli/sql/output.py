"""Prints the rows of a query: as a table, or as CSV or JSON for another program.

Spark turns every value into text, so numbers, times and nested values look the same everywhere.
Times are in UTC.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count, islice
from typing import TextIO

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import (
    ArrayType,
    BinaryType,
    DataType,
    MapType,
    NumericType,
    StructType,
    VariantType,
)
from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from matchlake.cli.sql.request import Format

_NESTED = (ArrayType, MapType, StructType, VariantType)
_AS_JSON = {
    "ignoreNullFields": "false",
    # Spark's default formats end at milliseconds.
    "timestampFormat": "yyyy-MM-dd'T'HH:mm:ss.SSSSSSXXX",
    "timestampNTZFormat": "yyyy-MM-dd'T'HH:mm:ss.SSSSSS",
}
_UNBOUNDED = 100_000
_WRAPPED, _LONGEST = 24, 60
"""Characters to which a cell may be narrowed: of text with blanks, and of any other value."""


@dataclass(frozen=True)
class Answer:
    """A query's first rows as text."""

    names: tuple[str, ...]
    numeric: tuple[bool, ...]
    """Which columns hold numbers."""
    rows: list[tuple[str | None, ...]]
    cut: bool
    """Whether the query has more rows than these."""


def fetch_answer(frame: DataFrame, limit: int | None) -> Answer:
    """Computes the first `limit` rows, or all; one Spark query."""
    texts = _numbered(frame).select(_texts(frame))
    fetched = [tuple(row) for row in _limited(texts, limit).collect()]
    kinds = tuple(isinstance(field.dataType, NumericType) for field in frame.schema)
    shown = fetched[:limit]
    return Answer(tuple(frame.columns), kinds, shown, cut=len(shown) < len(fetched))


def print_answer(answer: Answer, console: Console, *, vertical: bool = False) -> None:
    """Prints the rows as a table, then the number of rows; piped output is never wrapped.

    Rows that are wider than the terminal are printed one below another, a line per column.
    """
    if vertical or (console.is_terminal and _width(answer) > console.width):
        _print_vertically(answer, console)
    else:
        _print_table(answer, console)
    count = len(answer.rows)
    shown = f"{count} row{'' if count == 1 else 's'}"
    console.print(f"({shown}; there are more: --limit 0 shows all)" if answer.cut else f"({shown})")


def _width(answer: Answer) -> int:
    """The width that a table needs; text with blanks can be wrapped, other values not."""
    width = 1
    for number, name in enumerate(answer.names):
        values = [name, *(row[number] or "NULL" for row in answer.rows)]
        longest = max(values, key=cell_len)
        most = _WRAPPED if " " in longest and not answer.numeric[number] else _LONGEST
        width += 3 + max(cell_len(name), min(cell_len(longest), most))
    return width


def _print_vertically(answer: Answer, console: Console) -> None:
    for number, row in enumerate(answer.rows, 1):
        console.print(Text(f"row {number}", style="bold"))
        table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
        table.add_column(no_wrap=True, style="cyan")
        table.add_column(overflow="fold")
        for name, value in zip(answer.names, row, strict=True):
            table.add_row(Text(_printable(name)), _cell(value))
        console.print(table)


def _print_table(answer: Answer, console: Console) -> None:
    table = Table(box=box.ROUNDED, header_style="bold", show_edge=True)
    for name, numeric in zip(answer.names, answer.numeric, strict=True):
        table.add_column(Text(_printable(name)), justify="right" if numeric else "left")
    for row in answer.rows:
        table.add_row(*map(_cell, row))
    if not console.is_terminal:
        console.width = _UNBOUNDED
    console.print(table)


def write_rows(frame: DataFrame, style: Format, limit: int | None, out: TextIO) -> bool:
    """Streams the rows to `out` as CSV with a header, or as one JSON array of objects.

    CSV: null is an empty field, the empty string is `""`; arrays, maps and structs are JSON;
    binary is hexadecimal. JSON: null is null, binary is base64, and of columns with one name the
    later ones are numbered. Returns whether the query has more rows than `limit`.
    """
    numbered = _numbered(frame)
    if style is Format.CSV:
        rows: Iterable[tuple[str | None, ...]] = _stream(numbered.select(_texts(frame)), limit)
        lines = (_csv_line(row) for row in rows)
        out.write(_csv_line(frame.columns))
    else:
        names = _distinct(frame.columns)
        fields = [F.col(f"c{at}").alias(name) for at, name in enumerate(names)]
        rows = _stream(numbered.select(F.to_json(F.struct(*fields), _AS_JSON)), limit)
        lines = (f"{',' if at else ''}\n{row[0]}" for at, row in enumerate(rows))
        out.write("[")
    cut = _write(lines, limit, out)
    if style is Format.JSON:
        out.write("\n]\n")
    return cut


def _write(lines: Iterator[str], limit: int | None, out: TextIO) -> bool:
    out.writelines(islice(lines, limit))
    return next(lines, None) is not None


def _stream(frame: DataFrame, limit: int | None) -> Iterator[tuple[str | None, ...]]:
    # Reads one partition at a time, because the result may be larger than memory.
    return map(tuple, _limited(frame, limit).toLocalIterator())


def _limited(frame: DataFrame, limit: int | None) -> DataFrame:
    """One row more than `limit` shows whether there are more."""
    return frame if limit is None else frame.limit(limit + 1)


def _numbered(frame: DataFrame) -> DataFrame:
    """The columns as c0, c1 ...: a query may give several one name, or any name at all."""
    return frame.toDF(*(f"c{at}" for at in range(len(frame.columns))))


def _texts(frame: DataFrame) -> list[Column]:
    return [_text(F.col(f"c{at}"), field.dataType) for at, field in enumerate(frame.schema)]


def _text(column: Column, kind: DataType) -> Column:
    if isinstance(kind, _NESTED):
        return F.to_json(column, _AS_JSON)
    return F.hex(column) if isinstance(kind, BinaryType) else column.cast("string")


def _distinct(names: Sequence[str]) -> list[str]:
    distinct: list[str] = []
    taken = set(names)
    for name in names:
        numbered = (f"{name}_{number}" for number in count(2))
        new = next(n for n in numbered if n not in taken) if name in distinct else name
        taken.add(new)
        distinct.append(new)
    return distinct


def _csv_line(values: Iterable[str | None]) -> str:
    return ",".join(map(_csv_field, values)) + "\n"


def _csv_field(value: str | None) -> str:
    if value is None:
        return ""
    if value and not set(value) & set('",\r\n'):
        return value
    return '"' + value.replace('"', '""') + '"'


def _cell(value: str | None) -> Text:
    return Text("NULL", style="dim") if value is None else Text(_printable(value))


def _printable(value: str) -> str:
    """`value` with control characters escaped: data must not control the terminal."""
    return "".join(
        char if char.isprintable() or char == "\n" else json.dumps(char)[1:-1] for char in value
    )
