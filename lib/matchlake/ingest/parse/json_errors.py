"""The exact error of one JSON value. Slow, so only for values that the batch reader rejects."""

import json
from collections.abc import Mapping
from typing import Any

from matchlake.ingest.columns import ColumnParams, Columns
from matchlake.ingest.rejections import ErrorCode, Rejection

_INT64_DIGITS = 19
_BIGGEST = 2**63 - 1
_SHOWN = 40


class _Digits(str):
    """The text of a JSON integer of any length."""

    __slots__ = ()


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


_DECODER = json.JSONDecoder(parse_int=_Digits, parse_constant=_no_constant)
_KINDS: dict[type, str] = {
    _Digits: "an integer",
    float: "a number with a fraction",
    str: "a text",
    bool: "true or false",
    list: "an array",
    dict: "an object",
    type(None): "null",
}


def path_of(name: str, column: ColumnParams) -> tuple[str, ...]:
    """The names on the path to the source field of the column."""
    return tuple((column.path or name).split("."))


class JsonValidator:
    """Checks single values against the declared columns."""

    def __init__(self, columns: Columns) -> None:
        self._columns = {name: (path_of(name, c), c.type, c.epoch) for name, c in columns.items()}

    def validate(self, raw: bytes | None) -> Rejection | frozenset[str]:
        """The rejection of an invalid value; else the `string` columns that have an integer.

        A value that is nested too deeply for Python counts as valid here.
        """
        record = _decode(raw)
        if isinstance(record, Rejection):
            return record
        integers = set()
        for name, (path, kind, epoch) in self._columns.items():
            value, wrong = _walk(record, path)
            wrong = wrong or _wrong_kind(value, "double" if epoch else kind)
            if wrong:
                return Rejection(wrong[0], f"{name}: {wrong[1]}")
            if kind == "string" and isinstance(value, _Digits):
                integers.add(name)
        return frozenset(integers)

    def why_null(self, raw: bytes, name: str) -> ErrorCode:
        """Whether the source field of a null column is missing in the value, or null."""
        record = _decode(raw)
        node: Any = {} if isinstance(record, Rejection) else record
        for key in self._columns[name][0]:
            if node is None or key not in node:
                return ErrorCode.MISSING_FIELD
            node = node[key]
        return ErrorCode.NULL_FIELD

    def rejection_of(self, raw: bytes | None) -> Rejection:
        """The rejection of a value that does not begin and end with braces."""
        result = self.validate(raw)
        if isinstance(result, Rejection):
            return result
        return Rejection(ErrorCode.MALFORMED_JSON, "nested too deeply to be read")


def _decode(raw: bytes | None) -> Mapping[str, Any] | Rejection:
    if raw is None:
        return Rejection(ErrorCode.TOMBSTONE, "the message has no value")
    if not raw.strip(b" \t\r\n"):
        return Rejection(ErrorCode.EMPTY, f"the value is {len(raw)} bytes of white space")
    try:
        return _object(_DECODER.decode(raw.decode()))
    except UnicodeDecodeError as error:
        return Rejection(ErrorCode.INVALID_UTF8, f"{error.reason} at byte {error.start}")
    except ValueError as error:
        return Rejection(ErrorCode.MALFORMED_JSON, str(error))
    except RecursionError:
        return {}


def _object(record: Any) -> Mapping[str, Any] | Rejection:
    if isinstance(record, dict):
        return record
    return Rejection(ErrorCode.NOT_AN_OBJECT, f"found {_KINDS[type(record)]}")


Wrong = tuple[ErrorCode, str] | None


def _walk(record: Mapping[str, Any], path: tuple[str, ...]) -> tuple[Any, Wrong]:
    node: Any = record
    for key in path:
        if node is None:
            break
        if not isinstance(node, dict):
            return None, (
                ErrorCode.WRONG_TYPE,
                f"expected an enclosing object, found {_described(node)}",
            )
        node = node.get(key)
    return node, None


def _wrong_kind(value: Any, kind: str) -> Wrong:
    actual = type(value)
    match kind:
        case _ if value is None:
            fits = True
        case "string" | "timestamp" | "date":
            fits = actual is str or (kind == "string" and actual is _Digits and _is_int64(value))
        case "int" | "bigint":
            if actual is _Digits and not _is_int64(value):
                return ErrorCode.OUT_OF_RANGE, f"{_shown(value)} is no 64-bit integer"
            fits = actual is _Digits
        case "double":
            if actual in (_Digits, float) and float(value) in (float("inf"), float("-inf")):
                return ErrorCode.OUT_OF_RANGE, "outside the range of a double"
            fits = actual in (_Digits, float)
        case "boolean":
            fits = actual is bool
        case _:
            fits = actual is list and all(part is None or type(part) is str for part in value)
    return None if fits else (ErrorCode.WRONG_TYPE, f"expected {kind}, found {_described(value)}")


def _is_int64(digits: str) -> bool:
    short = len(digits.lstrip("-")) <= _INT64_DIGITS
    return short and -_BIGGEST - 1 <= int(digits) <= _BIGGEST


def _described(value: Any) -> str:
    shown = "" if isinstance(value, list | dict) or value is None else f" {_shown(value)}"
    return f"{_KINDS[type(value)]}{shown}"


def _shown(value: Any) -> str:
    text = str(value) if isinstance(value, _Digits) else repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
