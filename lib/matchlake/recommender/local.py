"""A factor model as NumPy arrays: the same answers with no Spark, for serving."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from matchlake.recommender.params import AlsParams

Matrix = npt.NDArray[np.float32]


@dataclass(frozen=True)
class NumpyFactorModel:
    """A fitted factor model in memory; row `n` of a matrix belongs to entry `n` of the ids.

    `user_factors` has shape (users, rank), `item_factors` (items, rank), biases (users,) and
    (items,). `user_observed` and `item_observed` count the interactions that trained a row.
    """

    user_ids: Sequence[Any]
    item_ids: Sequence[Any]
    user_factors: Matrix
    item_factors: Matrix
    user_bias: Matrix
    item_bias: Matrix
    mean: float
    params: AlsParams
    user_observed: npt.NDArray[np.int64] | None = None
    item_observed: npt.NDArray[np.int64] | None = None

    @cached_property
    def _user_rows(self) -> dict[Any, int]:
        return {key: row for row, key in enumerate(self.user_ids)}

    @cached_property
    def _item_rows(self) -> dict[Any, int]:
        return {key: row for row, key in enumerate(self.item_ids)}

    def score(self, user_ids: Sequence[Any], item_ids: Sequence[Any]) -> Matrix:
        """Scores of pairs; an unknown user or item adds nothing beyond the mean."""
        users = np.array([self._user_rows.get(key, -1) for key in user_ids], np.int64)
        items = np.array([self._item_rows.get(key, -1) for key in item_ids], np.int64)
        dots = np.einsum("nk,nk->n", self.user_factors[users], self.item_factors[items])
        scores = self.mean + np.where((users >= 0) & (items >= 0), dots, 0.0)
        scores += np.where(users >= 0, self.user_bias[users], 0.0)
        scores += np.where(items >= 0, self.item_bias[items], 0.0)
        return scores.astype(np.float32)

    def recommend_items(
        self, user_id: Any, k: int, *, exclude: Collection[Any] = ()
    ) -> list[tuple[Any, float]]:
        """The `k` best items of one user as (item_id, score), best first, without `exclude`."""
        row = self._user_rows.get(user_id)
        scores = self.mean + self.item_bias
        if row is not None:
            scores = scores + self.user_bias[row] + self.item_factors @ self.user_factors[row]
        return self._best(scores, k, self.item_ids, [self._item_rows.get(key) for key in exclude])

    def similar_items(self, item_id: Any, k: int) -> list[tuple[Any, float]]:
        """The `k` items whose factors are closest by cosine, best first, without the item."""
        row = self._item_rows[item_id]
        norms = np.linalg.norm(self.item_factors, axis=1)
        dots = self.item_factors @ self.item_factors[row]
        cosines = dots / np.maximum(norms * norms[row], 1e-12)
        return self._best(cosines, k, self.item_ids, [row])

    @staticmethod
    def _best(
        scores: Matrix, k: int, ids: Sequence[Any], without: Sequence[int | None]
    ) -> list[tuple[Any, float]]:
        scores = scores.astype(np.float32)
        scores[[row for row in without if row is not None]] = -np.inf
        order = np.argsort(-scores, kind="stable")[:k]
        return [(ids[row], float(scores[row])) for row in order if scores[row] > -np.inf]
