"""Item-item weights, as a full matrix or as compressed rows.

The score of an item is the sum of value times weight over a history.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pyarrow as pa

from matchlake.engine.arrow import combined, offsets_of
from matchlake.engine.csr import Csr, Ints
from matchlake.formulas.onnx import Graph
from matchlake.recommender.linear.kernels import (
    Floats,
    Positions,
    add_full_rows,
    add_rows,
    rows_of,
)
from matchlake.recommender.onnx_scores import ListsByUser, history_scores, sparse_history_scores
from matchlake.recommender.parts import matrix_of

History = tuple[Positions, Floats]
"""The items of one user, as indices, and their values."""


class ItemWeights(Protocol):
    """The weights of each item (row) for each item."""

    def add(self, history: History, scores: Floats) -> None:
        """Adds the weights of the items of a history, each times its value, to all scores."""

    def onto(self, item: int) -> Floats:
        """Returns the weights of all items for one item."""

    def onnx(
        self, graph: Graph, user: str, ids: list[object], history: ListsByUser, plain: Floats
    ) -> str:
        """Adds the scores of a user to a graph; `plain` are the scores of an unknown user."""


@dataclass(frozen=True)
class FullWeights:
    """A matrix (items, items)."""

    matrix: Floats

    def add(self, history: History, scores: Floats) -> None:
        """Adds the weights of the items of a history, each times its value, to all scores."""
        add_full_rows(*history, self.matrix, scores)

    def onto(self, item: int) -> Floats:
        """Returns the weights of all items for one item."""
        return self.matrix[:, item]

    def onnx(
        self, graph: Graph, user: str, ids: list[object], history: ListsByUser, plain: Floats
    ) -> str:
        """Adds the scores of a user to a graph; `plain` are the scores of an unknown user."""
        return history_scores(graph, user, ids, history, (self.matrix, plain))


@dataclass(frozen=True)
class SparseWeights:
    """Compressed rows of weights, one row per source."""

    rows: Csr

    def add(self, history: History, scores: Floats) -> None:
        """Adds the weights of the items of a history, each times its value, to all scores."""
        add_rows(*history, rows_of(self.rows), scores)

    def onto(self, item: int) -> Floats:
        """Returns the weights of all items for one item."""
        weights = np.zeros(self.rows.rows, np.float32)
        entries = np.flatnonzero(self.rows.columns == item)
        weights[self.rows.row_of(entries)] = self.rows.values[entries]
        return weights

    def onnx(
        self, graph: Graph, user: str, ids: list[object], history: ListsByUser, plain: Floats
    ) -> str:
        """Adds the scores of a user to a graph; `plain` are the scores of an unknown user."""
        sources: Ints = np.repeat(np.arange(self.rows.rows), self.rows.counts())
        entries = sources, self.rows.columns.astype(np.int64), self.rows.values
        return sparse_history_scores(graph, user, ids, history, (*entries, plain))


def weights_of(items: pa.Table) -> ItemWeights:
    """Reads the weights from rows of items, by ascending index.

    If there is a column `sources`, a row has the weights of these items for its item. Otherwise a
    row has the weights of its item for every item.
    """
    count = items.num_rows
    if "sources" not in items.column_names:
        return FullWeights(matrix_of(items, "weights", count))
    lists = combined(items["sources"])
    sources = np.asarray(lists.flatten()).astype(np.int32, copy=False)
    weights = np.asarray(combined(items["weights"]).flatten()).astype(np.float32, copy=False)
    return SparseWeights(Csr(offsets_of(lists), sources, weights, count).transpose())
