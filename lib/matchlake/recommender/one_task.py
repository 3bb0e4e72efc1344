"""The one-task schedule: a whole fit inside one Spark task, on that task's threads."""

import time
from collections.abc import Iterator
from dataclasses import dataclass

import numba
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from matchlake.errors import InputError
from matchlake.recommender.blocks import Csr, csr_from_pairs
from matchlake.recommender.params import AlsParams
from matchlake.recommender.randoms import normals
from matchlake.recommender.solver import (
    Matrix,
    gram,
    prepare_half,
    row_solver,
    solve_half,
    stored_width,
)
from matchlake.schemas import ITEM_ID, USER_ID

USER_SIDE, ITEM_SIDE = 0, 1


@dataclass(frozen=True)
class Fitted:
    """What a fit inside one task leaves behind."""

    users: Matrix
    items: Matrix
    mean: float
    seconds: list[float]


def initial(side: int, rows: int, params: AlsParams) -> Matrix:
    """Initial stored rows of one side: normal factors, zero bias and padding."""
    matrix = np.zeros((rows, stored_width(params)), np.float32)
    scale = np.float32(params.init_std / params.rank**0.5)
    matrix[:, : params.rank] = scale * normals(
        params.seed, side, np.arange(rows, dtype=np.int64), params.rank
    )
    if params.nonnegative:
        np.abs(matrix, out=matrix)
    return matrix


def fit_rows(rows: Csr, params: AlsParams) -> Fitted:
    """Fits users x items interactions held in memory."""
    mean = 0.0
    if params.has_bias:
        mean = float(np.float32(rows.values.mean(dtype=np.float64)))
        rows = Csr(rows.indptr, rows.columns, rows.values - np.float32(mean), rows.width)
    columns = rows.transpose()
    users = initial(USER_SIDE, rows.rows, params)
    items = initial(ITEM_SIDE, columns.rows, params)
    solve, threads = row_solver(params), params.threads or numba.config.NUMBA_NUM_THREADS
    seconds = []
    for _ in range(params.iterations):
        start = time.perf_counter()
        for side, fixed, part in ((users, items, rows), (items, users, columns)):
            half = prepare_half(part, fixed, gram(fixed, params), params)
            solve_half(solve, half, side, threads)
        seconds.append(time.perf_counter() - start)
    return Fitted(users, items, mean, seconds)


def fit_batches(
    batches: Iterator[pa.RecordBatch], params: AlsParams, schema: pa.Schema
) -> Iterator[pa.RecordBatch]:
    """The body of the one task: interactions in, trained rows of both sides out."""
    table = pa.Table.from_batches(list(batches))
    user_ids, users = _dense(table[USER_ID])
    item_ids, items = _dense(table[ITEM_ID])
    values = np.asarray(table[params.value_column]).astype(np.float32)
    rows = csr_from_pairs(users, items, values, (len(user_ids), len(item_ids)))
    _refuse_duplicates(rows, user_ids, item_ids)
    fitted = fit_rows(rows, params)
    counts = rows.counts(), rows.transpose().counts()
    for side, ids, matrix in ((0, user_ids, fitted.users), (1, item_ids, fitted.items)):
        yield from _emit(side, ids, matrix, counts[side], (fitted.mean, params, schema))


def _dense(column: pa.ChunkedArray) -> tuple[pa.Array, np.ndarray]:
    """Sorted distinct keys, and for each row the place of its key among them."""
    encoded = column.combine_chunks().dictionary_encode()
    order = pc.sort_indices(encoded.dictionary)
    rank = np.empty(len(order), np.int32)
    rank[np.asarray(order)] = np.arange(len(order), dtype=np.int32)
    return encoded.dictionary.take(order), rank[np.asarray(encoded.indices)]


def _refuse_duplicates(rows: Csr, user_ids: pa.Array, item_ids: pa.Array) -> None:
    same = np.flatnonzero(rows.columns[1:] == rows.columns[:-1])
    row = np.searchsorted(rows.indptr, same, "right") - 1
    same = same[same + 1 < rows.indptr[row + 1]]
    if len(same):
        row = np.searchsorted(rows.indptr, same[:5], "right") - 1
        shown = [
            (user_ids[int(a)].as_py(), item_ids[int(b)].as_py())
            for a, b in zip(row, rows.columns[same[:5]], strict=True)
        ]
        raise InputError(
            f"{len(same)} interaction(s) repeat an earlier (user_id, item_id), among them {shown}. "
            "Choose what they mean with AlsParams(duplicates='last', 'sum' or 'mean')."
        )


def _emit(
    side: int,
    ids: pa.Array,
    matrix: Matrix,
    counts: np.ndarray,
    context: tuple[float, AlsParams, pa.Schema],
) -> Iterator[pa.RecordBatch]:
    mean, params, schema = context
    step = max(1, (16 << 20) // (4 * matrix.shape[1]))
    for start in range(0, len(matrix), step):
        part = matrix[start : start + step]
        size = len(part)
        offsets = np.arange(0, (size + 1) * params.rank, params.rank, dtype=np.int32)
        factors = pa.ListArray.from_arrays(
            offsets, np.ascontiguousarray(part[:, : params.rank]).ravel()
        )
        bias = part[:, params.rank] if params.has_bias else np.zeros(size, np.float32)
        key = ids[start : start + size]
        nothing = pa.nulls(size)
        arrays = {
            "side": pa.array(np.full(size, side, np.int32)),
            USER_ID: key if side == USER_SIDE else nothing.cast(schema.field(USER_ID).type),
            ITEM_ID: key if side == ITEM_SIDE else nothing.cast(schema.field(ITEM_ID).type),
            "idx": pa.array(np.arange(start, start + size)),
            "factors": factors,
            "bias": pa.array(np.ascontiguousarray(bias)),
            "observed": pa.array(counts[start : start + size]),
            "mean": pa.array(np.full(size, mean)),
        }
        yield pa.RecordBatch.from_arrays(
            [arrays[field.name].cast(field.type) for field in schema], schema=schema
        )
