"""The body of a single-task fit: packed interactions in, factors out; nothing here needs Spark."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from matchlake.engine.arrow import matrix_lists
from matchlake.engine.csr import Csr, csr_from_pairs
from matchlake.recommender.als.in_memory import Fitted, fit_rows, initial_rows
from matchlake.recommender.als.params import AlsParams
from matchlake.recommender.als.solver import Matrix
from matchlake.recommender.interaction_stats import SHOWN, VALUE
from matchlake.recommender.packed_interactions import dense_places, unpack_pairs
from matchlake.recommender.scaled_weights import scaled_weights
from matchlake.recommender.sides import ITEM, KEYS, USER
from matchlake.schemas import ITEM_ID, USER_ID

REPORT, REPEATED = 2, 3
"""Values of `side` beside USER and ITEM: an iteration's report, a repeated pair."""


@dataclass(frozen=True)
class Task:
    """Interactions and, perhaps, a state in; a state out.

    `mean` is subtracted from every value. `done` iterations led to the state.
    """

    params: AlsParams
    mean: float
    done: int

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """All rows of the fit in; the rows of a state out."""
        table = pa.Table.from_batches(list(batches))
        trained = None
        if "side" in table.column_names:
            trained = table.filter(pc.is_valid(table["side"]))
        pairs = unpack_pairs(table["data"])
        users, items = dense_places(pairs[USER_ID]), dense_places(pairs[ITEM_ID])
        values = np.asarray(pairs[VALUE]) - np.float32(self.mean)
        values = scaled_weights(values, self.params.weight_scale)
        del table, pairs
        shape = len(users.ids), len(items.ids)
        rows = csr_from_pairs(users.places, items.places, values, shape)
        repeats = rows.repeats()
        if len(repeats):
            yield _repeated(rows, repeats, users.ids, items.ids)
            return
        ids = users.ids, items.ids
        start = None if trained is None else self._start(trained, ids)
        fitted = fit_rows(rows, self.params, start)
        counts = rows.counts(), np.bincount(rows.columns, minlength=shape[1])
        yield from self._emit(USER, ids, fitted.users, counts[0])
        yield from self._emit(ITEM, ids, fitted.items, counts[1])
        yield self._report(fitted, ids)

    def _start(self, trained: pa.Table, both: tuple[pa.Array, pa.Array]) -> Fitted:
        matrices = []
        for side, ids in ((USER, both[USER]), (ITEM, both[ITEM])):
            matrix = initial_rows(side, np.arange(len(ids)), self.params)
            rows = trained.filter(pc.equal(trained["side"], side))
            index = np.asarray(pc.fill_null(pc.index_in(rows[KEYS[side]], ids), -1))
            factors = rows["factors"].combine_chunks().flatten()
            known = index >= 0
            flat = np.asarray(factors).reshape(len(index), self.params.rank)
            matrix[index[known], : self.params.rank] = flat[known]
            if self.params.has_bias:
                matrix[index[known], self.params.rank] = np.asarray(rows["bias"])[known]
            matrices.append(matrix)
        return Fitted(matrices[0], matrices[1])

    def _emit(
        self,
        side: int,
        ids: tuple[pa.Array, pa.Array],
        matrix: Matrix,
        counts: npt.NDArray[np.int64],
    ) -> Iterator[pa.RecordBatch]:
        rank = self.params.rank
        step = max(1, (16 << 20) // (4 * rank))
        for begin in range(0, len(matrix), step):
            part = matrix[begin : begin + step]
            size = len(part)
            bias = part[:, rank] if self.params.has_bias else np.zeros(size, np.float32)
            yield _batch(
                {
                    "side": pa.array(np.full(size, side, np.int32)),
                    KEYS[side]: ids[side][begin : begin + size],
                    KEYS[1 - side]: pa.nulls(size, ids[1 - side].type),
                    "idx": pa.array(np.arange(begin, begin + size)),
                    "factors": matrix_lists(part[:, :rank]),
                    "bias": pa.array(np.ascontiguousarray(bias)),
                    "n_interactions": pa.array(counts[begin : begin + size]),
                }
            )

    def _report(self, fitted: Fitted, ids: tuple[pa.Array, pa.Array]) -> pa.RecordBatch:
        """One row per iteration; `idx` counts from 1."""
        seconds = fitted.seconds or [0.0]
        size = len(seconds)
        first = self.done + (1 if fitted.seconds else 0)
        return _batch(
            {
                "side": pa.array(np.full(size, REPORT, np.int32)),
                USER_ID: pa.nulls(size, ids[USER].type),
                ITEM_ID: pa.nulls(size, ids[ITEM].type),
                "idx": pa.array(np.arange(first, first + size)),
                "loss": pa.array([fitted.loss] * size),
                "seconds": pa.array(seconds, pa.float64()),
                "users": pa.array([len(ids[USER])] * size, pa.int64()),
                "items": pa.array([len(ids[ITEM])] * size, pa.int64()),
            }
        )


def _batch(columns: dict[str, pa.Array]) -> pa.RecordBatch:
    """A batch of a state; missing columns are null."""
    size = len(columns["side"])
    types = {
        "idx": pa.int64(),
        "factors": pa.list_(pa.float32()),
        "bias": pa.float32(),
        "n_interactions": pa.int64(),
        "loss": pa.float64(),
        "seconds": pa.float64(),
        "users": pa.int64(),
        "items": pa.int64(),
    }
    nulls = {name: pa.nulls(size, kind) for name, kind in types.items()}
    ordered = {name: columns[name] for name in ("side", USER_ID, ITEM_ID)}
    return pa.RecordBatch.from_pydict(ordered | {n: columns.get(n, nulls[n]) for n in types})


def _repeated(
    rows: Csr, repeats: npt.NDArray[np.int64], user_ids: pa.Array, item_ids: pa.Array
) -> pa.RecordBatch:
    shown = repeats[:SHOWN]
    return _batch(
        {
            "side": pa.array(np.full(len(shown), REPEATED, np.int32)),
            USER_ID: user_ids.take(pa.array(rows.row_of(shown))),
            ITEM_ID: item_ids.take(pa.array(rows.columns[shown])),
        }
    )
