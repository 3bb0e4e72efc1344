"""Casts values one by one in effect: a value that fails becomes null and is reported."""

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from matchlake.ingest.parse.bisect import bisect_failures
from matchlake.ingest.rejections import ErrorCode

Mask = npt.NDArray[np.bool_]
Failures = list[tuple[ErrorCode, Mask]]
"""The rows that failed, with their error code."""
Converted = tuple[pa.Array, Failures]
"""Values in their new type, null where the conversion failed, and the failures."""


def safe_cast(values: pa.Array, to: pa.DataType) -> tuple[pa.Array, Mask]:
    """`values` in the type `to`, and a mask of the failures, which are null."""
    failed = np.zeros(len(values), bool)
    try:
        return values.cast(to), failed
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        pass

    def passes(start: int, stop: int) -> bool:
        try:
            values.slice(start, stop - start).cast(to)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            return False
        return True

    failed[bisect_failures(len(values), passes)] = True
    return without(values, failed).cast(to), failed


def cast_or_wrong(values: pa.Array, to: pa.DataType) -> Converted:
    """`values` in the type `to`; the failures are `wrong_type`."""
    converted, failed = safe_cast(values, to)
    return converted, [(ErrorCode.WRONG_TYPE, failed)]


def without(values: pa.Array, left_out: Mask) -> pa.Array:
    """The values with null in the rows of the mask."""
    if not left_out.any():
        return values
    return pc.if_else(pa.array(left_out), pa.scalar(None, values.type), values)


def mask_of(flags: pa.Array) -> Mask:
    """Booleans as a mask; null is false."""
    mask: Mask = flags.fill_null(False).to_numpy(zero_copy_only=False)  # noqa: FBT003 - a value
    return mask
