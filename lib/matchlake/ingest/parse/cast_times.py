"""Casts to timestamps and dates. A number is a time only where the column declares `epoch`."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from matchlake.ingest.columns import ColumnParams
from matchlake.ingest.parse.safe_cast import (
    Converted,
    Mask,
    cast_or_wrong,
    mask_of,
    safe_cast,
    without,
)
from matchlake.ingest.rejections import ErrorCode

UTC = pa.timestamp("us", tz="UTC")
_MICROS = {"s": 1_000_000, "ms": 1_000, "us": 1}
_PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
# The greatest exact integer of a double, as microseconds: the year 2255.
_LAST_MICRO = 2.0**53
_FIRST, _LAST = -62_135_596_800, 253_402_300_799
"""0001-01-01 00:00:00 and 9999-12-31 23:59:59, in seconds since 1970."""
_DAY_SECONDS = 86_400
_DAY = _DAY_SECONDS * 10**6
_FINER = r"(:\d\d\.\d{6})\d+"
"""Digits after the microseconds, because some languages write nanoseconds."""
_HAS_ZONE = r"[T ]\d\d.*(Z|[+-]\d\d(:?\d\d)?)$"


def text_to_instant(values: pa.Array, column: ColumnParams) -> Converted:
    """ISO 8601 text, in UTC if it has no zone; with `epoch` the text of a number since 1970."""
    if column.epoch:
        return number_to_instant(values, column)
    try:
        return values.cast(UTC), []
    except pa.ArrowInvalid:
        return _instants(values)


def number_to_instant(values: pa.Array, column: ColumnParams) -> Converted:
    """The time since 1970 in the unit `epoch`; without `epoch` every number is refused."""
    if not column.epoch:
        return pa.nulls(len(values), UTC), [(ErrorCode.WRONG_TYPE, mask_of(values.is_valid()))]
    numbers, failed = safe_cast(values, pa.float64())
    scaled = numbers.fill_null(0).to_numpy(zero_copy_only=False) * _MICROS[column.epoch]
    scaled = np.round(scaled)
    failed = failed | ~(np.abs(scaled) <= _LAST_MICRO)
    none = failed | mask_of(numbers.is_null())
    whole = np.where(none, 0, scaled).astype(np.int64)
    return pa.array(whole, pa.int64(), mask=none).cast(UTC), [(ErrorCode.WRONG_TYPE, failed)]


def instant_to_instant(values: pa.Array, _column: ColumnParams) -> Converted:
    """The same time in UTC, cut to microseconds; a time without a zone is UTC."""
    unit = values.type.unit
    if unit == "us":
        return values.cast(UTC), []
    since = values.cast(pa.int64())
    outside = _outside(since, _PER_SECOND[unit])
    since = without(since, outside)
    if unit == "ns":
        micros = _floored(since, _PER_SECOND["ns"] // _PER_SECOND["us"])
    else:
        micros = pc.multiply(since, _PER_SECOND["us"] // _PER_SECOND[unit])
    return micros.cast(UTC), [(ErrorCode.OUT_OF_RANGE, outside)]


def instant_to_date(values: pa.Array, column: ColumnParams) -> Converted:
    """The day of a time that is midnight in UTC; any other time is refused."""
    instants, failures = instant_to_instant(values, column)
    micros = instants.cast(pa.int64()).fill_null(0).to_numpy(zero_copy_only=False)
    later = micros % _DAY != 0
    return without(instants, later).cast(pa.date32()), [*failures, (ErrorCode.WRONG_TYPE, later)]


def date_to_instant(values: pa.Array, column: ColumnParams) -> Converted:
    """The start of the day in UTC."""
    days, failures = date_to_date(values, column)
    outside = outside_years(days)
    failures = [*failures, (ErrorCode.OUT_OF_RANGE, outside)]
    return without(days, outside).cast(pa.timestamp("us")).cast(UTC), failures


def date_to_date(values: pa.Array, _column: ColumnParams) -> Converted:
    """The same day."""
    return cast_or_wrong(values, pa.date32())


def text_to_date(values: pa.Array, _column: ColumnParams) -> Converted:
    """ISO 8601 text, such as 2024-05-01."""
    return cast_or_wrong(values, pa.date32())


def outside_years(values: pa.Array) -> Mask:
    """The rows of times outside the years 1 to 9999, as Spark supports; other types have none."""
    if pa.types.is_date32(values.type):
        return _not_within(values.cast(pa.int32()), _FIRST // _DAY_SECONDS, _LAST // _DAY_SECONDS)
    if pa.types.is_timestamp(values.type):
        return _outside(values.cast(pa.int64()), _PER_SECOND[values.type.unit])
    return np.zeros(len(values), bool)


def _outside(since: pa.Array, per_second: int) -> Mask:
    return _not_within(since, _FIRST * per_second, (_LAST + 1) * per_second - 1)


def _not_within(numbers: pa.Array, first: int, last: int) -> Mask:
    low, high = max(first, -(2**63)), min(last, 2**63 - 1)
    found = pc.min_max(numbers).as_py()
    if found["min"] is None or (low <= found["min"] and found["max"] <= high):
        return np.zeros(len(numbers), bool)
    return mask_of(pc.or_(pc.less(numbers, low), pc.greater(numbers, high)))


def _floored(numbers: pa.Array, divisor: int) -> pa.Array:
    whole = numbers.fill_null(0).to_numpy(zero_copy_only=False) // divisor
    return pa.array(whole, pa.int64(), mask=mask_of(numbers.is_null()))


def _instants(values: pa.Array) -> Converted:
    values = pc.replace_substring_regex(values, _FINER, r"\1")
    zoned = pc.match_substring_regex(values, _HAS_ZONE)
    none = pa.scalar(None, values.type)
    here, no_instant = safe_cast(pc.if_else(zoned, values, none), UTC)
    local, no_local = safe_cast(pc.if_else(zoned, none, values), pa.timestamp("us"))
    instants = pc.coalesce(here, pc.assume_timezone(local, "UTC"))
    return instants, [(ErrorCode.WRONG_TYPE, no_instant | no_local)]
