"""The tasks of a SLIM fit on Spark: one numbers the interactions, others fit some items."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from matchlake.engine.arrow import combined, list_array
from matchlake.engine.broadcast import stream_queries
from matchlake.engine.csr import Csr
from matchlake.engine.packing import binary_array, pack, pieces_of, unpack
from matchlake.recommender.linear.pairs import (
    filled,
    id_kinds,
    item_counts,
    matrix_of_packed,
    side_columns,
    user_batches,
)
from matchlake.recommender.linear.params import SlimParams
from matchlake.recommender.linear.slim_solver import Columns, slim_weights
from matchlake.recommender.sides import ITEM

DATA = 2
"""The `side` of the rows with the matrix users x items; `idx` gives their order."""
_ITEMS = 1 << 14


@dataclass(frozen=True)
class Number:
    """Reads all rows of a packed frame.

    Returns users, items, and the matrix users x items in pieces.
    """

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """The body of the task."""
        matrix = matrix_of_packed(pa.Table.from_batches(list(batches))["data"])
        kinds = id_kinds(matrix) | {"data": pa.binary()}
        for columns in user_batches(matrix):
            yield filled(columns, kinds)
        counts = item_counts(matrix)
        for begin in range(0, len(counts), _ITEMS):
            part = slice(begin, min(begin + _ITEMS, len(counts)))
            yield filled(side_columns(matrix, ITEM, part, counts[part]), kinds)
        for place, piece in enumerate(pieces_of(pack(matrix.rows.narrowed()))):
            side = pa.array([DATA], pa.int32())
            data = binary_array([piece]).chunk(0)
            yield filled({"side": side, "idx": pa.array([place]), "data": data}, kinds)


@dataclass(frozen=True)
class Solve:
    """Reads the matrix users x items in pieces, and items; returns the items with their weights."""

    params: SlimParams

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """The body of a task."""
        parts = list(stream_queries(batches, self._settle, _ITEMS))
        if not parts:
            return
        matrix = parts[0][1]
        items = pa.Table.from_batches([part for part, _ in parts])
        items = items.select(["query", "idx", "n_interactions"]).combine_chunks()
        targets = np.asarray(items["idx"]).astype(np.int32)
        weights = slim_weights(matrix, self.params, targets, self.params.threads or 1)
        columns = {name: combined(items[name]) for name in items.column_names}
        yield pa.RecordBatch.from_pydict(columns | weight_columns(weights))

    @staticmethod
    def _settle(pieces: pa.Table, _given: pa.Table) -> Csr:
        data = pieces.sort_by("idx")["data"]
        return Csr.widened(unpack([piece.as_buffer() for piece in data]))


def weight_columns(weights: Columns) -> dict[str, pa.Array]:
    """The columns `sources` and `weights` of items."""
    return {
        "sources": list_array(weights.indptr, weights.sources),
        "weights": list_array(weights.indptr, weights.weights),
    }
