"""The outputs of a head as columns of Arrow, pandas and ONNX."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from matchlake.engine.tree_walk import Forest, pack_forest, walk_forest
from matchlake.formulas.heads import Head, TreesHead
from matchlake.formulas.numpy import rows_with_nan

Array = npt.NDArray[Any]

_ONNX = {"DOUBLE": "DOUBLE", "STRING": "STRING", "INT": "INT32"}


def onnx_type(sql_type: str) -> tuple[str, bool]:
    """Returns the ONNX type of an output, and whether a row has a list."""
    element = sql_type.removeprefix("ARRAY<").removesuffix(">")
    return _ONNX[element], element != sql_type


def packed_trees(head: Head) -> Forest | None:
    """Returns the trees of a head for compiled code; None for other heads."""
    if not isinstance(head, TreesHead):
        return None
    return pack_forest(head.nodes, head.roots, head.leaf_values, head.targets, len(head.base))


def score_matrix(head: Head, forest: Forest | None, matrix: Array) -> dict[str, Array]:
    """Returns the same bits as `head.numpy`, but runs trees as compiled code."""
    if forest is None or not isinstance(head, TreesHead):
        return head.numpy(matrix)
    return head.outputs_of(head.finished(walk_forest(forest, matrix), matrix))


def arrow_outputs(
    head: Head, forest: Forest | None, keys: Sequence[str], batch: pa.RecordBatch
) -> pa.RecordBatch:
    """Scores a batch with the keys and the head's columns; returns the keys and the outputs."""
    matrix = np.empty((batch.num_rows, len(head.columns)))
    for position, name in enumerate(head.columns):
        column = batch.column(name).cast(pa.float64())
        matrix[:, position] = column.to_numpy(zero_copy_only=False)
    scored = score_matrix(head, forest, matrix)
    arrays = {key: batch.column(key) for key in keys}
    arrays |= {name: _arrow(values) for name, values in scored.items()}
    return pa.RecordBatch.from_arrays(list(arrays.values()), list(arrays))


def _arrow(values: Array) -> pa.Array:
    if values.ndim == 2:  # noqa: PLR2004 - a list per row
        offsets = np.arange(len(values) + 1, dtype=np.int32) * values.shape[1]
        missing = rows_with_nan(values)
        flat = pa.array(np.ascontiguousarray(values).ravel())
        return pa.ListArray.from_arrays(pa.array(offsets), flat, mask=pa.array(missing))
    if values.dtype == object:
        return pa.array(values, pa.string())
    missing = values < 0 if values.dtype == np.int32 else np.isnan(values)
    return pa.array(values, mask=missing)


def pandas_outputs(scored: Mapping[str, Array]) -> dict[str, Any]:
    """The outputs of a head as columns of pandas."""
    return {name: _pandas(values) for name, values in scored.items()}


def _pandas(values: Array) -> Any:
    if values.ndim == 2:  # noqa: PLR2004 - a list per row
        missing = rows_with_nan(values)
        rows = zip(values.tolist(), missing, strict=True)
        return pd.Series([None if absent else row for row, absent in rows], dtype=object)
    if values.dtype == np.int32:
        return pd.arrays.IntegerArray(np.maximum(values, 0), values < 0)
    return values
