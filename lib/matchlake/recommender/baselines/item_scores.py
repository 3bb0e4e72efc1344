"""Scores of one task's users from item weights: Arrow in, Arrow out."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from matchlake.engine.arrow import combined, offsets_of
from matchlake.engine.csr import Csr
from matchlake.recommender.baselines.histories import (
    COLUMNS,
    ITEM_IDX,
    STRENGTHS,
    csr_of,
)
from matchlake.recommender.baselines.kernels import (
    Flags,
    Floats,
    Places,
    Positions,
    Rows,
    add_full_rows,
    add_rows,
    largest,
    mark_rows,
    rows_of,
)
from matchlake.schemas import RANK, SCORE, USER_ID

TARGETS, WEIGHTS = "targets", "weights"
OPEN, WITHOUT, OWN = "_open", "_without", "_own"


@dataclass(frozen=True)
class Scorer:
    """Scores users against `size` items: the `k` best of each, or, when it is None, all of `_own`.

    Of the users' rows it reads the history, `_without` (items not to answer with) and `_own` (the
    only ones to answer with, where not null); of the weights' rows `_open` (null: none of the
    answers may be this item).
    """

    size: int
    k: int | None

    def answer(self, users: pa.Table, weights: pa.Table) -> pa.Table:
        """`user_id`, `rank`, `item_idx`, `score`."""
        found: list[tuple[Positions, Floats]] = []
        if users.num_rows:
            history = csr_of(users, COLUMNS, STRENGTHS, self.size)
            matrix = _Matrix.read(weights, self.size)
            without, own = _lists(users[WITHOUT]), _lists(users[OWN])
            for row in range(history.rows):
                scores, touched = matrix.scores(history, row)
                asked = own[row]
                if self.k is None and asked is not None:
                    best = asked
                else:
                    admitted = _admit(touched, without[row], asked)
                    best = largest(scores, admitted, self.k or self.size)
                found.append((best, scores[best]))
        return _answer(users[USER_ID], found)


@dataclass(frozen=True)
class _Matrix:
    """Weights by the item that they start from: compressed rows, or full ones of all items."""

    row_of: Places
    rows: Rows | Floats
    open: Flags

    @classmethod
    def read(cls, weights: pa.Table, size: int) -> "_Matrix":
        starts = np.asarray(combined(weights[ITEM_IDX]))
        row_of = np.full(size, -1, np.int64)
        row_of[starts] = np.arange(len(starts))
        opened = np.zeros(size, np.bool_)
        opened[starts] = ~np.asarray(combined(weights[OPEN].is_null()))
        if weights[TARGETS].null_count == weights.num_rows:
            values = np.asarray(combined(weights[WEIGHTS]).flatten())
            return cls(row_of, values.reshape(-1, size), opened)
        return cls(row_of, rows_of(csr_of(weights, TARGETS, WEIGHTS, size)), opened)

    def scores(self, history: Csr, row: int) -> tuple[Floats, Flags]:
        """Scores of all items for one user, and which of the open ones have any weight."""
        part = slice(history.indptr[row], history.indptr[row + 1])
        places, strengths = self.row_of[history.columns[part]], history.values[part]
        scores = np.zeros(len(self.open), np.float32)
        if isinstance(self.rows, np.ndarray):
            add_full_rows(places, strengths, self.rows, scores)
            return scores, self.open
        touched = np.zeros(len(self.open), np.bool_)
        add_rows(places, strengths, self.rows, scores)
        mark_rows(places, self.rows, touched)
        return scores, touched & self.open


def _admit(touched: Flags, without: Positions | None, own: Positions | None) -> Flags:
    admitted = touched
    if own is not None:
        admitted = np.zeros_like(touched)
        admitted[own] = touched[own]
    if without is not None:
        admitted = admitted.copy()
        admitted[without] = False
    return admitted


def _lists(column: pa.ChunkedArray) -> list[Positions | None]:
    """Each row's integers, None where the row is null."""
    lists = combined(column)
    bounds, values = offsets_of(lists), np.asarray(lists.flatten())
    nulls = np.asarray(lists.is_null())
    return [
        None if null else values[bounds[row] : bounds[row + 1]] for row, null in enumerate(nulls)
    ]


def _answer(users: pa.ChunkedArray, found: list[tuple[Positions, Floats]]) -> pa.Table:
    counts = np.array([len(best) for best, _ in found], np.int64)
    none = np.empty(0, np.int32)
    ranks = np.concatenate([none, *(np.arange(1, n + 1, dtype=np.int32) for n in counts)])
    return pa.table(
        {
            USER_ID: users.take(np.repeat(np.arange(len(counts)), counts)),
            RANK: ranks,
            ITEM_IDX: np.concatenate([none, *(best for best, _ in found)]).astype(np.int32),
            SCORE: np.concatenate([np.empty(0), *(scores for _, scores in found)]),
        }
    )
