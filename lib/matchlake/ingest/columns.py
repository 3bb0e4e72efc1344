"""The declaration of one column of a stream or of a lake file. Imports no Spark."""

import re
from decimal import Decimal
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, model_validator

from matchlake.errors import SchemaError
from matchlake.params import Params
from matchlake.schemas import check_name

_TYPES = ("string", "int", "bigint", "double", "boolean", "timestamp", "date", "array<string>")
_DECIMAL = re.compile(r"decimal\(\s*([0-9]{1,3})\s*,\s*([0-9]{1,3})\s*\)")
_MOST_DIGITS = 38
NUMBERS = ("int", "bigint", "double", "decimal(p,s)")
_MAX_EXACT = {"int": 2**31 - 1, "bigint": 2**53}
"""The largest bound per integer type. A bound is a double, and larger integers are not exact."""


def decimal_digits(type_: str) -> tuple[int, int] | None:
    """Precision and scale of a declared `decimal(p,s)`; None for any other type."""
    found = _DECIMAL.fullmatch(type_)
    return (int(found[1]), int(found[2])) if found else None


def is_number(type_: str) -> bool:
    """Whether a declared type is numeric."""
    return type_ in NUMBERS or decimal_digits(type_) is not None


def _checked_type(type_: str) -> str:
    digits = decimal_digits(type_)
    if digits is None and type_ not in _TYPES:
        raise ValueError(f"type {type_} is none of {', '.join(_TYPES)}, decimal(p,s)")
    if digits is None:
        return type_
    precision, scale = digits
    if not (1 <= precision <= _MOST_DIGITS and scale <= precision):
        raise ValueError(
            f"type {type_}: decimal(p,s) has p digits, 1 to {_MOST_DIGITS}, of which s are after "
            "the point, 0 to p"
        )
    return f"decimal({precision},{scale})"


ColumnType = Annotated[str, AfterValidator(_checked_type)]
"""string, int, bigint, double, boolean, timestamp, date, array<string> or decimal(p,s)."""


class ColumnParams(Params):
    """One declared column: its type, its source field, and the values that it allows."""

    type: ColumnType
    """A `string` also takes JSON integers, as their digits; a `timestamp` without a zone is UTC.
    A `decimal(p,s)` is exact: it takes numbers and strings of digits, and rounds none of them."""
    comment: str
    """The meaning of the column; becomes its comment in the table."""
    path: str | None = None
    """The source field, with dots between nested names; null: the column's own name."""
    required: bool = True
    """Whether a record without the field, or with null, is quarantined."""
    min: float | None = None
    """The smallest allowed number."""
    max: float | None = None
    """The largest allowed number."""
    one_of: tuple[str, ...] = ()
    """The allowed strings; empty: all."""
    epoch: Literal["s", "ms", "us"] | None = None
    """The unit of a timestamp that is a number since 1970; null: the timestamp is ISO 8601 text."""

    @model_validator(mode="after")
    def _validate_type(self) -> Self:
        if (self.min is not None or self.max is not None) and not is_number(self.type):
            raise ValueError(
                f"min and max are allowed for {', '.join(NUMBERS)}, not for {self.type}"
            )
        largest = _MAX_EXACT.get(self.type)
        bounds = [bound for bound in (self.min, self.max) if bound is not None]
        if largest and not all(bound.is_integer() and abs(bound) <= largest for bound in bounds):
            raise ValueError(
                f"min and max of {self.type} must be integers from -{largest} to {largest}"
            )
        if (digits := decimal_digits(self.type)) and not all(_fits(b, *digits) for b in bounds):
            raise ValueError(f"min and max must be numbers that {self.type} can hold")
        if self.one_of and self.type != "string":
            raise ValueError(f"one_of is allowed for string, not for {self.type}")
        if self.epoch and self.type != "timestamp":
            raise ValueError(f"epoch is allowed for timestamp, not for {self.type}")
        return self


def _fits(bound: float, precision: int, scale: int) -> bool:
    number = Decimal(repr(bound))
    exponent = number.normalize().as_tuple().exponent
    return -int(exponent) <= scale and number.adjusted() < precision - scale


def _distinct(columns: dict[str, ColumnParams]) -> dict[str, ColumnParams]:
    """The columns. Raises ValueError if names differ only by case."""
    known: dict[str, str] = {}
    for name in columns:
        if name.lower() in known:
            raise ValueError(
                f"columns {known[name.lower()]} and {name} differ only by case, and are one column "
                "for Spark: rename one, and give its field as `path`"
            )
        known[name.lower()] = name
    return columns


Columns = Annotated[dict[str, ColumnParams], AfterValidator(_distinct)]
"""The declared columns by name, in their order. No two names differ only by case."""


def checked_name(name: str, parts: int) -> str:
    """The name. Raises ValueError if it is not valid; pydantic reports the error with the key."""
    try:
        return check_name(name, parts)
    except SchemaError as error:
        raise ValueError(str(error)) from None
