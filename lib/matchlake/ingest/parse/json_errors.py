"""What is wrong with one JSON value, told exactly: the slow way, for the few that need it."""

import json
from collections.abc import Mapping
from typing import Any

from matchlake.ingest.params import ColumnParams, Columns
from matchlake.ingest.reasons import Finding, Reason

_INT64_DIGITS = 19
_BIGGEST = 2**63 - 1
_SHOWN = 40


class _Digits(str):
    """A JSON integer as it is written: of any length, and not yet a number."""

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
    """The names on the way to the column's field in a record."""
    return tuple((column.path or name).split("."))


class Judge:
    """Knows the declared columns, and says of a single value why it cannot be read."""

    def __init__(self, columns: Columns) -> None:
        self._columns = {name: (path_of(name, c), c.type, c.epoch) for name, c in columns.items()}

    def judge(self, raw: bytes | None) -> Finding | frozenset[str]:
        """What is wrong with the value; else the `string` columns that it gives as integers.

        A value nested too deeply for Python has nothing wrong, as far as this can tell.
        """
        record = _decode(raw)
        if isinstance(record, Finding):
            return record
        integers = set()
        for name, (path, kind, epoch) in self._columns.items():
            value, wrong = _walk(record, path)
            wrong = wrong or _wrong_kind(value, "double" if epoch else kind)
            if wrong:
                return Finding(wrong[0], f"{name}: {wrong[1]}")
            if kind == "string" and isinstance(value, _Digits):
                integers.add(name)
        return frozenset(integers)

    def why_null(self, raw: bytes, name: str) -> Reason:
        """Whether the column's field is missing from a value that has it not, or null there."""
        record = _decode(raw)
        node: Any = {} if isinstance(record, Finding) else record
        for key in self._columns[name][0]:
            if node is None or key not in node:
                return Reason.MISSING_FIELD
            node = node[key]
        return Reason.NULL_FIELD

    def refuse(self, raw: bytes | None) -> Finding:
        """What is wrong with a value that does not begin and end as an object does."""
        verdict = self.judge(raw)
        if isinstance(verdict, Finding):
            return verdict
        return Finding(Reason.MALFORMED_JSON, "nested too deeply to be read")


def _decode(raw: bytes | None) -> Mapping[str, Any] | Finding:
    if raw is None:
        return Finding(Reason.TOMBSTONE, "the message has no value")
    if not raw.strip(b" \t\r\n"):
        return Finding(Reason.EMPTY, f"the value is {len(raw)} bytes of nothing")
    try:
        return _object(_DECODER.decode(raw.decode()))
    except UnicodeDecodeError as error:
        return Finding(Reason.INVALID_UTF8, f"{error.reason} at byte {error.start}")
    except ValueError as error:
        return Finding(Reason.MALFORMED_JSON, str(error))
    except RecursionError:
        return {}


def _object(record: Any) -> Mapping[str, Any] | Finding:
    if isinstance(record, dict):
        return record
    return Finding(Reason.NOT_AN_OBJECT, f"found {_KINDS[type(record)]}")


Wrong = tuple[Reason, str] | None


def _walk(record: Mapping[str, Any], path: tuple[str, ...]) -> tuple[Any, Wrong]:
    node: Any = record
    for key in path:
        if node is None:
            break
        if not isinstance(node, dict):
            return None, (Reason.WRONG_TYPE, f"expected an object around it, found {_told(node)}")
        node = node.get(key)
    return node, None


def _wrong_kind(value: Any, kind: str) -> Wrong:
    found = type(value)
    match kind:
        case _ if value is None:
            fits = True
        case "string" | "timestamp" | "date":
            fits = found is str or (kind == "string" and found is _Digits and _is_int64(value))
        case "int" | "bigint":
            if found is _Digits and not _is_int64(value):
                return Reason.OUT_OF_RANGE, f"{_shown(value)} is no 64-bit integer"
            fits = found is _Digits
        case "double":
            if found in (_Digits, float) and float(value) in (float("inf"), float("-inf")):
                return Reason.OUT_OF_RANGE, "beyond a double"
            fits = found in (_Digits, float)
        case "boolean":
            fits = found is bool
        case _:
            fits = found is list and all(part is None or type(part) is str for part in value)
    return None if fits else (Reason.WRONG_TYPE, f"expected {kind}, found {_told(value)}")


def _is_int64(digits: str) -> bool:
    short = len(digits.lstrip("-")) <= _INT64_DIGITS
    return short and -_BIGGEST - 1 <= int(digits) <= _BIGGEST


def _told(value: Any) -> str:
    shown = "" if isinstance(value, list | dict) or value is None else f" {_shown(value)}"
    return f"{_KINDS[type(value)]}{shown}"


def _shown(value: Any) -> str:
    text = str(value) if isinstance(value, _Digits) else repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
