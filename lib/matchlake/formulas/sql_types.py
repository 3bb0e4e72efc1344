"""The types of SQL expressions, which decide whether an expression can fail in Spark.

Spark casts operands of different types to a common one. With ANSI SQL, the cast of a string fails
if it is not a number. A common decimal type of more than 38 digits fails or loses digits. So a cast
cannot fail if all operands are of one kind and have at most 38 digits together.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

from matchlake.errors import ParameterError

_MOST_DIGITS = 38
_LEAST_SCALE = 6
_INT, _BIGINT = 10, 20


class SqlType(NamedTuple):
    """The type of an expression."""

    kind: str
    """number, text, boolean, date, timestamp, list of texts, interval, interval of months, null."""
    precision: int | None = None
    """The digits of an exact number; None: a double, or not a number."""
    scale: int = 0
    """The digits after the point."""
    whole: bool = False
    """Whether the type is int or bigint."""

    @property
    def group(self) -> str:
        """The group of kinds that can be compared with this kind."""
        return "time" if self.kind in ("date", "timestamp") else self.kind


DOUBLE = SqlType("number")
INT = SqlType("number", _INT, whole=True)
BIGINT = SqlType("number", _BIGINT, whole=True)
TEXT = SqlType("text")
BOOLEAN = SqlType("boolean")
DATE = SqlType("date")
TIMESTAMP = SqlType("timestamp")
TEXTS = SqlType("list of texts")
INTERVAL = SqlType("interval")
MONTHS = SqlType("interval of months")
NULL = SqlType("null")

_NAMED = {
    "int": INT,
    "bigint": BIGINT,
    "double": DOUBLE,
    "string": TEXT,
    "boolean": BOOLEAN,
    "date": DATE,
    "timestamp": TIMESTAMP,
    "array<string>": TEXTS,
}


def named_type(name: str) -> SqlType | None:
    """Returns the type of a declared name, such as `decimal(10,2)`; None if the name is unknown."""
    if found := re.fullmatch(r"decimal\(([0-9]{1,2}),([0-9]{1,2})\)", name):
        precision, scale = int(found[1]), int(found[2])
        valid = 1 <= precision <= _MOST_DIGITS and scale <= precision
        return SqlType("number", precision, scale) if valid else None
    return _NAMED.get(name)


def common_type(types: Sequence[SqlType], operation: str) -> SqlType:
    """Returns the type to which Spark casts these types in a list, a CASE or a comparison.

    Raises ParameterError for different kinds, and for decimals that have no common type.
    """
    known = [each for each in types if each.kind != "null"]
    if not known:
        return NULL
    if len({each.group for each in known}) > 1:
        kinds = " and a ".join(dict.fromkeys(each.kind for each in known))
        raise ParameterError(
            f"{operation} has a {kinds}; cast one of them, such as CAST(x AS DOUBLE) or "
            "DATE '2024-05-01'"
        )
    if known[0].group == "time":
        return DATE if all(each.kind == "date" for each in known) else TIMESTAMP
    if known[0].kind != "number" or any(each.precision is None for each in known):
        return SqlType(known[0].kind)
    if all(each.whole for each in known):
        return max(map(_stored, known), key=lambda each: each.precision or 0)
    digits = [(each.precision or 0, each.scale) for each in known]
    scale = max(s for _, s in digits)
    precision = max(p - s for p, s in digits) + scale
    if precision > _MOST_DIGITS:
        raise ParameterError(
            f"{operation} has decimals of {precision} digits together, and {_MOST_DIGITS} is the "
            "limit; cast them to DOUBLE"
        )
    return SqlType("number", precision, scale)


def stored_type(kind: SqlType) -> SqlType:
    """Returns the type of a literal where Spark ignores its digits: an integer is an int."""
    return _stored(kind)


def arithmetic_type(operator: str, left: SqlType, right: SqlType) -> SqlType:
    """Returns the type of `left operator right` for numbers and + - * / %, by Spark's rules."""
    if left.precision is None or right.precision is None:
        return DOUBLE
    if left.whole and right.whole:
        return DOUBLE if operator == "/" else common_type([left, right], operator)
    (p1, s1), (p2, s2) = (left.precision, left.scale), (right.precision, right.scale)
    scale, before = max(s1, s2), max(p1 - s1, p2 - s2)
    if operator in "+-":
        return _limited(before + scale + 1, scale)
    if operator == "*":
        return _limited(p1 + p2 + 1, s1 + s2)
    if operator == "%":
        return _limited(min(p1 - s1, p2 - s2) + scale, scale)
    scale = max(_LEAST_SCALE, s1 + p2 + 1)
    return _limited(p1 - s1 + s2 + scale, scale)


def _stored(kind: SqlType) -> SqlType:
    if not kind.whole:
        return kind
    return INT if (kind.precision or 0) <= _INT else BIGINT


def _limited(precision: int, scale: int) -> SqlType:
    """A decimal of at most 38 digits; digits after the point are dropped first, down to 6."""
    if precision <= _MOST_DIGITS:
        return SqlType("number", precision, scale)
    scale = max(_MOST_DIGITS - (precision - scale), min(scale, _LEAST_SCALE))
    return SqlType("number", _MOST_DIGITS, scale)
