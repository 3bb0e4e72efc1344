"""Casts numbers, and strings to numbers. A value that would lose digits is refused."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from matchlake.ingest.columns import ColumnParams, decimal_digits
from matchlake.ingest.parse.decimals import WIDE
from matchlake.ingest.parse.safe_cast import (
    Converted,
    Mask,
    cast_or_wrong,
    mask_of,
    safe_cast,
    without,
)
from matchlake.ingest.rejections import ErrorCode

_EXACT = {pa.float16(): 2.0**11, pa.float32(): 2.0**24, pa.float64(): 2.0**53}
"""The largest number up to which each floating-point type represents every integer."""
_WHOLE = {True: pa.decimal256(76, 0), False: pa.decimal128(38, 0)}
_NO_DIGITS = r"[^0-9-]"


def integer_to_integer(values: pa.Array, _column: ColumnParams) -> Converted:
    """Integers with 64 bits."""
    integers, failed = safe_cast(values, pa.int64())
    return integers, [(ErrorCode.OUT_OF_RANGE, failed)]


def integer_to_double(values: pa.Array, _column: ColumnParams) -> Converted:
    """Integers up to 2^53."""
    return cast_or_wrong(values, pa.float64())


def integer_to_text(values: pa.Array, _column: ColumnParams) -> Converted:
    """The digits."""
    return values.cast(pa.string()), []


def float_to_integer(values: pa.Array, _column: ColumnParams) -> Converted:
    """Integers up to the largest one that the type represents exactly."""
    wrong = _inexact(values)
    return without(values, wrong).cast(pa.int64()), [(ErrorCode.WRONG_TYPE, wrong)]


def float_to_double(values: pa.Array, _column: ColumnParams) -> Converted:
    """Doubles."""
    return values.cast(pa.float64()), []


def float_to_text(values: pa.Array, column: ColumnParams) -> Converted:
    """The digits of an integer that the type represents exactly."""
    integers, failures = float_to_integer(values, column)
    return integers.cast(pa.string()), failures


def decimal_to_integer(values: pa.Array, _column: ColumnParams) -> Converted:
    """Integers with 64 bits."""
    whole, wrong = _whole(values)
    integers, failed = safe_cast(whole, pa.int64())
    return integers, [(ErrorCode.WRONG_TYPE, wrong), (ErrorCode.OUT_OF_RANGE, failed)]


def decimal_to_double(values: pa.Array, _column: ColumnParams) -> Converted:
    """The nearest double."""
    return cast_or_wrong(values, pa.float64())


def decimal_to_text(values: pa.Array, _column: ColumnParams) -> Converted:
    """The digits of an integer."""
    whole, wrong = _whole(values)
    return whole.cast(pa.string()), [(ErrorCode.WRONG_TYPE, wrong)]


def text_to_integer(values: pa.Array, _column: ColumnParams) -> Converted:
    """Decimal digits with an optional minus."""
    if not any(pc.any(pc.match_substring(values, letter)).as_py() for letter in "xX"):
        return cast_or_wrong(values, pa.int64())
    hexadecimal = mask_of(pc.match_substring_regex(values, _NO_DIGITS))  # such as 0x1F
    integers, failed = safe_cast(without(values, hexadecimal), pa.int64())
    return integers, [(ErrorCode.WRONG_TYPE, failed | hexadecimal)]


def text_to_double(values: pa.Array, _column: ColumnParams) -> Converted:
    """A number with a point, with or without an exponent."""
    return cast_or_wrong(values, pa.float64())


def text_to_boolean(values: pa.Array, _column: ColumnParams) -> Converted:
    """`true`, `false`, `1` or `0`, in any case of letters."""
    return cast_or_wrong(values, pa.bool_())


def to_decimal(values: pa.Array, column: ColumnParams) -> Converted:
    """Decimals of the column's digits; a value with other digits, which it would round, fails."""
    precision, scale = decimal_digits(column.type) or (38, 0)
    wide, failed = safe_cast(values, WIDE)
    exact, inexact = safe_cast(wide, pa.decimal128(precision, scale))
    return exact, [(ErrorCode.WRONG_TYPE, failed | inexact)]


def _inexact(values: pa.Array) -> Mask:
    """The rows of floating-point numbers that have a fraction, or that may have lost digits."""
    numbers = values.cast(pa.float64()).fill_null(0).to_numpy(zero_copy_only=False)
    with np.errstate(invalid="ignore"):
        inexact: Mask = ~((np.trunc(numbers) == numbers) & (np.abs(numbers) <= _EXACT[values.type]))
    return inexact


def _whole(values: pa.Array) -> tuple[pa.Array, Mask]:
    """The integers among decimals, without digits after the point, and a mask of the others."""
    is_wide = pa.types.is_decimal256(values.type)
    if not is_wide:
        values = values.cast(pa.decimal128(38, values.type.scale))
    wrong = mask_of(pc.not_equal(pc.trunc(values), values))
    whole, too_large = safe_cast(without(values, wrong), _WHOLE[is_wide])
    return whole, wrong | too_large
