"""Arrow columns of lists as flat NumPy arrays with offsets, and back.

No other module builds list columns.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa


def combined(column: pa.ChunkedArray) -> pa.Array:
    """A column as one array."""
    whole = column.combine_chunks()
    return pa.concat_arrays(whole.chunks) if isinstance(whole, pa.ChunkedArray) else whole


def offsets_of(lists: pa.Array) -> npt.NDArray[np.int64]:
    """Start of each row's part of `lists.flatten()`, and the end of the last one."""
    lengths = np.asarray(lists.value_lengths().fill_null(0))
    return np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])


def list_array(
    offsets: npt.NDArray[np.int64],
    values: npt.NDArray[Any],
    null: npt.NDArray[np.bool_] | None = None,
) -> pa.Array:
    """A column of lists: row `n` is `values[offsets[n]:offsets[n + 1]]`, or null where `null`."""
    bounds = pa.array(offsets.astype(np.int32))
    mask = None if null is None else pa.array(null)
    return pa.ListArray.from_arrays(bounds, pa.array(values), mask=mask)


def matrix_lists(rows: npt.NDArray[Any], null: npt.NDArray[np.bool_] | None = None) -> pa.Array:
    """A matrix as a column of lists, one per row."""
    offsets = np.arange(len(rows) + 1, dtype=np.int64) * rows.shape[1]
    return list_array(offsets, np.ascontiguousarray(rows).ravel(), null)
