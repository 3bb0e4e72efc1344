"""The exact error of one JSON value. Slow, so only for values that the batch reader rejects."""

import json
import re
from collections.abc import Mapping
from typing import Any, Self

from matchlake.ingest.columns import Columns
from matchlake.ingest.parse.decimals import is_wide
from matchlake.ingest.parse.paths import declared_tree, path_of
from matchlake.ingest.rejections import ErrorCode, Rejection

_INT64_DIGITS = 19
_BIGGEST = 2**63 - 1
_SHOWN = 40
_LARGE_EXPONENT = re.compile(r"-?\d+(?:\.(\d+))?[eE]\+?(\d{3,})")
_MAX_EXPONENT, _DIGITS = 308, 20


class _Digits(str):
    """The text of a JSON integer of any length."""

    __slots__ = ()


class _Fraction(float):
    """A JSON number with a fraction or an exponent, and its text."""

    text: str

    def __new__(cls, text: str) -> Self:
        number = super().__new__(cls, text)
        number.text = text
        return number


class _Repeated(dict[str, Any]):
    """A JSON object in which names occur more than once; the last value counts."""

    names: set[str]
    """The names that occur more than once."""


def _object_of(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    record = dict(pairs)
    if len(record) == len(pairs):
        return record
    once: set[str] = set()
    twice: set[str] = set()
    for name, _ in pairs:
        (twice if name in once else once).add(name)
    repeated = _Repeated(record)
    repeated.names = twice
    return repeated


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


class _Decoder:
    """Python's decoder; notes what Arrow rejects anywhere in a value and Python accepts."""

    def __init__(self) -> None:
        self._decoder = json.JSONDecoder(
            parse_int=_Digits,
            parse_float=self._float,
            parse_constant=_no_constant,
            object_pairs_hook=_object_of,
        )
        self.too_large: str | None = None
        """The last number of the value with an exponent that is too large."""

    def decode(self, raw: bytes) -> Any:
        """The value; raises ValueError or RecursionError."""
        self.too_large = None
        text = raw.decode()
        try:  # skips the search for white space: takes half the time
            value, end = self._decoder.scan_once(text, 0)  # type: ignore[attr-defined]
        except StopIteration:
            return self._decoder.decode(text)
        return value if end == len(text) else self._decoder.decode(text)

    def _float(self, text: str) -> float:
        # Most numbers are too short to have a large exponent.
        if len(text) >= len("1e309") and (found := _LARGE_EXPONENT.fullmatch(text)):
            self._note_exponent(text, *found.groups(default=""))
        return _Fraction(text)

    def _note_exponent(self, text: str, fraction: str, exponent: str) -> None:
        """Notes an exponent that Arrow rejects. Arrow adds about 20 digits of it at most."""
        zeros = len(fraction) - len(fraction.lstrip("0"))
        digits = min(len(fraction), zeros + _DIGITS)
        exponent = exponent.lstrip("0")
        if len(exponent) > len(str(_MAX_EXPONENT + digits)) or (
            int(exponent or "0") > _MAX_EXPONENT + digits
        ):
            self.too_large = text


# Matches every escape but a lone surrogate. Without the matches, a text has one backslash for each
# lone surrogate.
_WHOLE_ESCAPE = re.compile(
    rb"\\(?:[^u]|u[^dD]|u[dD][0-7]|u[dD][89abAB]..\\u[dD][c-fC-F])", re.DOTALL
)
_KINDS: dict[type, str] = {
    _Digits: "an integer",
    _Fraction: "a number with a fraction",
    str: "a text",
    bool: "true or false",
    list: "an array",
    dict: "an object",
    _Repeated: "an object",
    type(None): "null",
}


_PLAIN: dict[str, type] = {"string": str, "timestamp": str, "date": str, "boolean": bool}
"""The Python types whose values need no further check, by the type of the column."""


class JsonValidator:
    """Checks single values against the declared columns."""

    def __init__(self, columns: Columns) -> None:
        kinds = {name: "double" if c.epoch else c.type for name, c in columns.items()}
        self._columns = {
            name: (path_of(name, column), kinds[name], _PLAIN.get(kinds[name]))
            for name, column in columns.items()
        }
        self._tree = declared_tree(columns)
        self._decoder = _Decoder()

    def validate(self, raw: bytes | None) -> Rejection | frozenset[str]:
        """The rejection of an invalid value; else the `string` columns that have an integer.

        A value that is nested too deeply for Python counts as valid here.
        """
        record = self._decode(raw)
        if isinstance(record, Rejection):
            return record
        if repeated := _repeated(record, self._tree):
            return Rejection(ErrorCode.MALFORMED_JSON, f"the field {repeated} occurs twice")
        integers = set()
        for name, (path, kind, plain) in self._columns.items():
            value, wrong = (record.get(path[0]), None) if len(path) == 1 else _walk(record, path)
            if type(value) is plain:
                continue
            if wrong := wrong or _wrong_kind(value, kind):
                return Rejection(wrong[0], f"{name}: {wrong[1]}")
            if kind == "string" and isinstance(value, _Digits):
                integers.add(name)
        if self._decoder.too_large:
            message = f"{_shown(self._decoder.too_large)} is too large for a number"
            return Rejection(ErrorCode.MALFORMED_JSON, message)
        return frozenset(integers)

    def why_null(self, raw: bytes, name: str) -> ErrorCode:
        """Whether the source field of a null column is missing in the value, or null."""
        record = self._decode(raw)
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

    def _decode(self, raw: bytes | None) -> Mapping[str, Any] | Rejection:
        if raw is None:
            return Rejection(ErrorCode.TOMBSTONE, "the message has no value")
        if not raw.strip(b" \t\r\n"):
            return Rejection(ErrorCode.EMPTY, f"the value is {len(raw)} bytes of white space")
        try:
            record = _object(self._decoder.decode(raw))
        except UnicodeDecodeError as error:
            return Rejection(ErrorCode.INVALID_UTF8, f"{error.reason} at byte {error.start}")
        except ValueError as error:
            return Rejection(ErrorCode.MALFORMED_JSON, str(error))
        except RecursionError:
            record = {}
        if _has_half_a_pair(raw):
            return Rejection(ErrorCode.MALFORMED_JSON, "a string holds half of a surrogate pair")
        return record


def _has_half_a_pair(raw: bytes) -> bool:
    """Whether a value with valid escapes has a surrogate that is no part of a pair."""
    return (rb"\ud" in raw or rb"\uD" in raw) and b"\\" in _WHOLE_ESCAPE.sub(b"", raw)


def _repeated(node: Any, tree: Mapping[str, Any]) -> str | None:
    """The first declared field that occurs more than once, with dots between nested names."""
    if type(node) is _Repeated:
        for name in tree:
            if name in node.names:
                return name
    for name, inner in tree.items():
        if inner and isinstance(node, dict) and (found := _repeated(node.get(name), inner)):
            return f"{name}.{found}"
    return None


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
                return ErrorCode.OUT_OF_RANGE, f"{_shown(value)} is not a 64-bit integer"
            fits = actual is _Digits
        case "double":
            if actual in (_Digits, _Fraction) and float(value) in (float("inf"), float("-inf")):
                return ErrorCode.OUT_OF_RANGE, "outside the range of a double"
            fits = actual in (_Digits, _Fraction)
        case _ if kind.startswith("decimal"):
            text = value.text if actual is _Fraction else value
            fits = actual in (_Digits, _Fraction, str) and is_wide(text)
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
    text = value.text if isinstance(value, _Fraction) else text
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
