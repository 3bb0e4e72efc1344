"""Casts to text. Bytes that are not UTF-8 are found here, because Arrow and Spark do not check."""

import numpy as np
import pyarrow as pa

from matchlake.ingest.columns import ColumnParams
from matchlake.ingest.parse.bisect import bisect_failures
from matchlake.ingest.parse.safe_cast import Converted, Mask, safe_cast
from matchlake.ingest.rejections import ErrorCode

_MAX_ASCII = 127


def as_it_is(values: pa.Array, _column: ColumnParams) -> Converted:
    """The values unchanged."""
    return values, []


def bytes_to_text(values: pa.Array, _column: ColumnParams) -> Converted:
    """Bytes as text, if they are UTF-8."""
    texts, failed = safe_cast(values, pa.string())
    return texts, [(ErrorCode.INVALID_UTF8, failed)]


def undecodable(values: pa.Array) -> Mask:
    """The rows of strings or lists of strings that are not UTF-8; none for other types."""
    failed = np.zeros(len(values), bool)
    is_list = pa.types.is_list(values.type)
    is_text = is_list or pa.types.is_string(values.type)
    if not is_text or _is_ascii(values.values if is_list else values):
        return failed

    def passes(start: int, stop: int) -> bool:
        part = values.slice(start, stop - start)
        try:
            (part.flatten() if is_list else part).validate(full=True)
        except pa.ArrowInvalid:
            return False
        return True

    failed[bisect_failures(len(values), passes)] = True
    return failed


def _is_ascii(texts: pa.Array) -> bool:
    """Whether no byte is above 127: a much faster check than that of UTF-8."""
    data = texts.buffers()[2]
    return not data or bool(np.frombuffer(data, np.uint8).max() <= _MAX_ASCII)
