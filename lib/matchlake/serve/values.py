"""Converts JSON values to inputs of a graph, strictly by the type of their column."""

import math
import re
from collections.abc import Callable, Sequence
from datetime import datetime
from decimal import ROUND_HALF_UP, Context, Decimal
from functools import cache
from struct import Struct
from typing import Any

import numpy as np
import numpy.typing as npt

from matchlake.formulas.onnx import NULL_TEXT, PADDING, onnx_text
from matchlake.serve.errors import RequestError

Array = npt.NDArray[Any]
Reader = Callable[[Any], Any]
"""Converts a JSON value, not null, to a float or a string; raises ValueError with the reason."""

_SINGLE = Struct("f")
_BITS = {"tinyint": 8, "smallint": 16, "int": 32, "bigint": 64}
_DECIMAL = re.compile(r"[+-]?(\d{1,60}(\.\d{0,60})?|\.\d{1,60})")
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}(T|$)", re.ASCII)
_SHOWN = 40
_DIGITS = Context(prec=400)


def numbers(name: str, kind: str, values: Sequence[Any]) -> Array:
    """Returns a column as doubles, NaN for null; raises RequestError for another type."""
    read = _number_reader(kind)
    found = np.empty(len(values))
    for row, value in enumerate(values):
        found[row] = math.nan if value is None else _read(name, row, value, read)
    return found


def texts(name: str, kind: str, values: Sequence[Any]) -> Array:
    """Returns a column as strings for a graph, [rows], or [rows, length] for lists."""
    if kind.startswith("array<"):
        return _lists(name, kind[6:-1], values)
    read, found = _text_reader(kind), np.empty(len(values), dtype=object)
    for row, value in enumerate(values):
        found[row] = NULL_TEXT if value is None else onnx_text(_read(name, row, value, read))
    return found


def _lists(name: str, element: str, values: Sequence[Any]) -> Array:
    """Returns lists without nulls, padded; a null list is one null string."""
    read, rows = _text_reader(element), []
    for row, value in enumerate(values):
        if value is None:
            rows.append([NULL_TEXT])
        elif isinstance(value, list):
            known = (each for each in value if each is not None)
            rows.append([onnx_text(_read(name, row, each, read)) for each in known])
        else:
            raise RequestError(f"{name}, row {row}: expected a list, found {_shown(value)}.", name)
    found = np.full((len(rows), max([1, *map(len, rows)])), PADDING, dtype=object)
    for row, listed in enumerate(rows):
        found[row, : len(listed)] = listed
    return found


def _read(name: str, row: int, value: Any, read: Reader) -> Any:
    try:
        return read(value)
    except ValueError as error:
        raise RequestError(
            f"{name}, row {row}: expected {error}, found {_shown(value)}.", name
        ) from None


def _shown(value: Any) -> str:
    """Returns a value for a message, shortened."""
    if isinstance(value, str):
        return f"the string {value[:_SHOWN]!r}"
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return f"the number {str(value)[:_SHOWN]}" if _is_short(value) else "a huge number"
    return "a list" if isinstance(value, list) else "an object"


def _is_short(value: Any) -> bool:
    """Returns whether Python can format the integer; it refuses thousands of digits."""
    return bool(isinstance(value, float) or abs(value) < 10**_SHOWN)


@cache
def _number_reader(kind: str) -> Reader:
    if kind in _BITS:
        whole = _whole_reader(kind)
        return lambda value: float(whole(value))
    if kind == "boolean":
        return lambda value: float(_truth(value))
    if kind == "float":
        return _single
    return _decimal_reader(kind) if kind.startswith("decimal") else _double


def _double(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("a number")  # noqa: TRY004 - the reason of a refusal
    try:
        return float(value)
    except OverflowError:
        raise ValueError("a number of double precision") from None


def _single(value: Any) -> float:
    double = _double(value)
    try:
        rounded: float = _SINGLE.unpack(_SINGLE.pack(double))[0]
    except OverflowError:
        return math.copysign(math.inf, double)
    return rounded


def _decimal_reader(kind: str) -> Reader:
    """Reads numbers, also in strings, and rounds them to the type's digits as Spark does."""
    precision, scale = map(int, kind[8:-1].split(","))
    unit, limit = Decimal(1).scaleb(-scale), Decimal(10) ** (precision - scale)

    def read(value: Any) -> float:
        is_text = isinstance(value, str) and _DECIMAL.fullmatch(value)
        if not is_text and math.isnan(_double(value)):
            return math.nan
        exact = Decimal(value) if is_text or isinstance(value, int) else Decimal(repr(value))
        if not exact.is_finite() or abs(exact) >= limit:
            raise ValueError(f"a number of type {kind}")
        rounded = exact.quantize(unit, ROUND_HALF_UP, _DIGITS)
        if abs(rounded) >= limit:
            raise ValueError(f"a number of type {kind}")
        return float(rounded)

    return read


def _whole_reader(kind: str) -> Callable[[Any], int]:
    limit = 2 ** (_BITS[kind] - 1)

    def read(value: Any) -> int:
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int) or not -limit <= value < limit:
            raise ValueError(f"an integer of type {kind}")
        return value

    return read


def _truth(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("true or false")  # noqa: TRY004 - the reason of a refusal
    return value


@cache
def _text_reader(kind: str) -> Reader:
    if kind in _BITS:
        whole = _whole_reader(kind)
        return lambda value: str(whole(value))
    if kind == "boolean":
        return lambda value: "true" if _truth(value) else "false"
    return _day if kind == "date" else _text


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("a text")  # noqa: TRY004 - the reason of a refusal
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise ValueError("a string of valid Unicode") from None
    return value


def _day(value: Any) -> str:
    if isinstance(value, str) and _DAY.match(value):
        try:
            return datetime.fromisoformat(value).date().isoformat()
        except ValueError:
            pass
    raise ValueError("a date such as 2026-05-01")
