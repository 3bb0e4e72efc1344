"""Exact decimal numbers: what their texts may be, and whether a column can hold them.

A number of JSON is read as its digits and never as a double, which has no digits of its own.
"""

import re
from decimal import Context, Decimal

import pyarrow as pa

from matchlake.ingest.columns import decimal_digits

WIDE = pa.decimal256(76, 38)
"""The type in which decimals are read, before they are cast to the type of their column."""
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,6})?")
_WIDE = Context(prec=200)
_MOST_DIGITS, _WIDEST = 76, 2**255


class DecimalTypes(dict[str, pa.DataType]):
    """Arrow's types by the declared type. The type of a `decimal(p,s)` is made on first use."""

    def __missing__(self, declared: str) -> pa.DataType:
        """The type of a decimal; raises KeyError for any other type."""
        digits = decimal_digits(declared)
        if digits is None:
            raise KeyError(declared)
        self[declared] = pa.decimal128(*digits)
        return self[declared]


def exact_decimal(value: object, precision: int, scale: int) -> Decimal | None:
    """The value with `precision` digits, `scale` of them after the point; None if it has others.

    Takes texts, integers and decimals, and rounds nothing: further digits must be zeros. A double
    has no exact digits, so it gives None.
    """
    if isinstance(value, bool) or not isinstance(value, str | int | Decimal):
        return None
    text = str(value)
    if not _NUMBER.fullmatch(text):
        return None
    number = Decimal(text)
    if number.adjusted() >= precision - scale or len(number.as_tuple().digits) > _MOST_DIGITS:
        return None if number else Decimal(0).scaleb(-scale)
    scaled = number.quantize(Decimal(1).scaleb(-scale), context=_WIDE)
    return scaled if scaled == number else None


def is_wide(value: object) -> bool:
    """Whether Arrow reads the text of a number as `WIDE`, which it keeps in 256 bits."""
    number = exact_decimal(value, WIDE.precision + 1, WIDE.scale)
    return number is not None and abs(number.scaleb(WIDE.scale, context=_WIDE)) < _WIDEST
