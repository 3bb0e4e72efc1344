"""Casts from the types of a reader to the declared types, one column at a time."""

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from matchlake.ingest.columns import ColumnParams
from matchlake.ingest.parse.bisect import bisect_failures
from matchlake.ingest.parse.decimals import WIDE, DecimalTypes

UTC = pa.timestamp("us", tz="UTC")
ARROW = DecimalTypes(
    {
        "string": pa.string(),
        "int": pa.int32(),
        "bigint": pa.int64(),
        "double": pa.float64(),
        "boolean": pa.bool_(),
        "timestamp": UTC,
        "date": pa.date32(),
        "array<string>": pa.list_(pa.string()),
    }
)
_MICROS = {"s": 1_000_000, "ms": 1_000, "us": 1}
# The greatest exact integer of a double, as microseconds: the year 2255.
_LAST_MICRO = 2.0**53
_FINER = r"(:\d\d\.\d{6})\d+"
"""Digits after the microseconds: some languages write nanoseconds."""
_HAS_ZONE = r"[T ]\d\d.*(Z|[+-]\d\d(:?\d\d)?)$"

Mask = npt.NDArray[np.bool_]


def convert(values: pa.Array, column: ColumnParams) -> tuple[pa.Array, Mask]:
    """`values` in the type of the column, and a mask of the failures, which are null.

    The result of a value does not depend on the other values.
    """
    if pa.types.is_decimal(ARROW[column.type]):
        return _decimals(values, ARROW[column.type])
    if column.type != "timestamp" or pa.types.is_timestamp(values.type):
        return _cast(values, ARROW[column.type])
    if column.epoch:
        return _since_1970(values, _MICROS[column.epoch])
    try:
        return values.cast(UTC), np.zeros(len(values), bool)
    except pa.ArrowInvalid:
        return _instants(values)


def indices_among(rows: npt.ArrayLike, count: int) -> pa.Array:
    """For each of `count` rows its index in `rows`; null for the other rows."""
    chosen = np.asarray(rows, np.int64)
    indices, absent = np.zeros(count, np.int64), np.ones(count, bool)
    indices[chosen], absent[chosen] = np.arange(len(chosen)), False
    return pa.array(indices, mask=absent)


def _decimals(values: pa.Array, to: pa.DataType) -> tuple[pa.Array, Mask]:
    """Exact decimals; a number of another kind than digits, such as a double, is a failure."""
    kind = values.type
    if pa.types.is_floating(kind) or pa.types.is_boolean(kind) or pa.types.is_nested(kind):
        return pa.nulls(len(values), to), ~values.is_null().to_numpy(zero_copy_only=False)
    wide, failed = _cast(values, WIDE)
    exact, inexact = _cast(wide, to)
    return exact, failed | inexact


def _instants(values: pa.Array) -> tuple[pa.Array, Mask]:
    values = pc.replace_substring_regex(values, _FINER, r"\1")
    zoned = pc.match_substring_regex(values, _HAS_ZONE)
    none = pa.scalar(None, values.type)
    here, no_instant = _cast(pc.if_else(zoned, values, none), UTC)
    local, no_local = _cast(pc.if_else(zoned, none, values), pa.timestamp("us"))
    return pc.coalesce(here, pc.assume_timezone(local, "UTC")), no_instant | no_local


def _since_1970(values: pa.Array, micros: int) -> tuple[pa.Array, Mask]:
    numbers, failed = _cast(values, pa.float64())
    scaled = np.round(numbers.fill_null(0).to_numpy(zero_copy_only=False) * micros)
    failed = failed | ~(np.abs(scaled) <= _LAST_MICRO)
    none = failed | numbers.is_null().to_numpy(zero_copy_only=False)
    whole = np.where(none, 0, scaled).astype(np.int64)
    return pa.array(whole, pa.int64(), mask=none).cast(UTC), failed


def _cast(values: pa.Array, to: pa.DataType) -> tuple[pa.Array, Mask]:
    failed = np.zeros(len(values), bool)

    def passes(start: int, stop: int) -> bool:
        try:
            values.slice(start, stop - start).cast(to)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            return False
        return True

    rows = bisect_failures(len(values), passes)
    if rows:
        failed[rows] = True
        values = pc.if_else(pa.array(failed), pa.scalar(None, values.type), values)
    return values.cast(to), failed
