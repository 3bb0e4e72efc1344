"""Arrow columns of lists as flat NumPy arrays with bounds, and back."""

import numpy as np
import numpy.typing as npt
import pyarrow as pa


def combined(column: pa.ChunkedArray) -> pa.Array:
    """A column as one array."""
    whole = column.combine_chunks()
    return pa.concat_arrays(whole.chunks) if isinstance(whole, pa.ChunkedArray) else whole


def offsets_of(lists: pa.Array) -> npt.NDArray[np.int64]:
    """Where each row's part of `lists.flatten()` begins, and the last one's ends."""
    lengths = np.asarray(lists.value_lengths().fill_null(0))
    return np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])


def list_array(offsets: npt.NDArray[np.int64], values: npt.NDArray[np.generic]) -> pa.Array:
    """The other way round."""
    return pa.ListArray.from_arrays(pa.array(offsets.astype(np.int32)), pa.array(values))
