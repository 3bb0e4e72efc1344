"""A factor model as NumPy arrays: the same answers with no Spark, for serving."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from matchlake.recommender.blocks import Csr, Ints, csr_from_pairs
from matchlake.recommender.fold import FixedSide, fixed_side, fold_in, history_problem
from matchlake.recommender.params import AlsParams
from matchlake.recommender.topk import Best, lists_of, top_k

Matrix = npt.NDArray[np.float32]


class Row(NamedTuple):
    """One user or item: factors, shape (rank,), and bias."""

    factors: Matrix
    bias: float


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

    def score(self, user_ids: Sequence[Any], item_ids: Sequence[Any]) -> Matrix:
        """Scores of pairs; an unknown user or item adds nothing beyond the mean."""
        users, items = _places(self._user_rows, user_ids), _places(self._item_rows, item_ids)
        dots = np.einsum("nk,nk->n", self.user_factors[users], self.item_factors[items])
        scores = self.mean + np.where((users >= 0) & (items >= 0), dots, 0.0)
        scores += np.where(users >= 0, self.user_bias[users], 0.0)
        scores += np.where(items >= 0, self.item_bias[items], 0.0)
        return scores.astype(np.float32)

    def recommend_items(
        self,
        user: Any,
        k: int,
        *,
        exclude: Collection[Any] = (),
        candidates: Collection[Any] | None = None,
    ) -> list[tuple[Any, float]]:
        """The `k` best items of a user as (item_id, score), best first; ties by item index.

        `user` is an id, or a `Row` that `fold_in` gave. An unknown id gets the items of the
        highest bias (explicit) or with the most interactions (implicit; the score is then their
        share of all interactions).
        """
        row = user if isinstance(user, Row) else self._user(user)
        query = np.full((1, self.params.rank + 1), np.nan, np.float32)
        level = self.mean
        if row is not None:
            query[0] = np.append(row.factors, 1.0)
            level += row.bias
        without = _places(self._item_rows, list(exclude))
        if candidates is not None:
            allowed = _places(self._item_rows, list(candidates))
            others = np.ones(len(self.item_ids), bool)
            others[allowed[allowed >= 0]] = False
            without = np.union1d(without, np.flatnonzero(others))
        return self._best(query, self._targets, k, without, level)

    def similar_items(self, item_id: Any, k: int) -> list[tuple[Any, float]]:
        """The `k` items most like an item by the cosine of their factors, without itself.

        Raises KeyError where the item is unknown.
        """
        row = self._item_rows[item_id]
        unit = self._unit_items
        return self._best(unit[row : row + 1], unit, k, np.array([row]), 0.0)

    def fold_in(self, history: Mapping[Any, float]) -> Row:
        """The row of a new or changed user from {item_id: rating or strength}.

        Solves the user's least squares problem exactly, with the items as they are; unknown items
        do not count.
        """
        factors, bias = fold_in(self._history(history), self._fixed_items)
        return Row(factors[0], float(bias[0]))

    def fold_in_item(self, history: Mapping[Any, float]) -> Row:
        """As `fold_in`, for an item, from {user_id: rating or strength}."""
        places = _places(self._user_rows, list(history))
        values = np.array(list(history.values()), np.float32)
        factors, bias = fold_in(_one_row(places, values, len(self.user_ids)), self._fixed_users)
        return Row(factors[0], float(bias[0]))

    def explain(self, item_id: Any, history: Mapping[Any, float]) -> list[tuple[Any, float]]:
        """What each item of a history adds to the score of `item_id`, the most first.

        The score of a user folded in from `history` is `mean` + the item's bias + the sum of these
        parts: with A the user's normal matrix, item j adds `w_j t_j * design_j' A^-1 design`
        (Hu, Koren and Volinsky 2008, section 5). Raises KeyError where `item_id` is unknown.
        """
        problem = history_problem(self._history(history), self._fixed_items)
        design = problem.design[problem.columns].astype(np.float64)
        weights = problem.slope * problem.values + problem.base
        pulls = problem.gain * problem.values + problem.shift - problem.offsets[problem.columns]
        normal = (design.T * weights) @ design + problem.ridge[0] * np.eye(design.shape[1])
        if problem.gram.size:
            normal += problem.gram
        parts = pulls * (design @ np.linalg.lstsq(normal, self._design(item_id), rcond=None)[0])
        order = np.argsort(-parts, kind="stable")
        return [(self.item_ids[problem.columns[j]], float(parts[j])) for j in order]

    def _design(self, item_id: Any) -> npt.NDArray[np.float64]:
        row: npt.NDArray[np.float64] = self._fixed_items.rows[self._item_rows[item_id]].astype(
            float
        )
        if self.params.has_bias:
            row[self.params.rank] = 1.0
        return row

    def _history(self, history: Mapping[Any, float]) -> Csr:
        places = _places(self._item_rows, list(history))
        return _one_row(places, np.array(list(history.values()), np.float32), len(self.item_ids))

    def _user(self, user_id: Any) -> Row | None:
        row = self._user_rows.get(user_id)
        return None if row is None else Row(self.user_factors[row], float(self.user_bias[row]))

    def _best(
        self,
        query: Matrix,
        targets: Matrix,
        k: int,
        without: npt.NDArray[np.int64],
        level: float,
    ) -> list[tuple[Any, float]]:
        none = np.zeros(len(without), np.int64)
        lists = lists_of(none, without, 1, len(targets))
        best: Best = top_k(query, targets, k, lists, self._plain)
        places, scores = best.places[0], best.scores[0]
        kept = (places >= 0) & (scores > -np.inf)
        found = zip(places[kept], scores[kept], strict=True)
        return [(self.item_ids[place], float(score + np.float32(level))) for place, score in found]

    @cached_property
    def _user_rows(self) -> dict[Any, int]:
        return {key: row for row, key in enumerate(self.user_ids)}

    @cached_property
    def _item_rows(self) -> dict[Any, int]:
        return {key: row for row, key in enumerate(self.item_ids)}

    @cached_property
    def _targets(self) -> Matrix:
        return np.column_stack([self.item_factors, self.item_bias]).astype(np.float32)

    @cached_property
    def _plain(self) -> Matrix:
        """What the items score for an unknown user."""
        if self.params.feedback == "explicit" or self.item_observed is None:
            return self.item_bias.astype(np.float32)
        total = max(1, int(self.item_observed.sum()))
        return (self.item_observed / total).astype(np.float32)

    @cached_property
    def _unit_items(self) -> Matrix:
        norms = np.linalg.norm(self.item_factors, axis=1, keepdims=True)
        unit: Matrix = (self.item_factors / np.maximum(norms, 1e-12)).astype(np.float32)
        return unit

    @cached_property
    def _fixed_items(self) -> FixedSide:
        return fixed_side(self.item_factors, self.item_bias, self.mean, self.params)

    @cached_property
    def _fixed_users(self) -> FixedSide:
        return fixed_side(self.user_factors, self.user_bias, self.mean, self.params)


def _places(rows: Mapping[Any, int], ids: Sequence[Any]) -> npt.NDArray[np.int64]:
    places: Ints = np.array([rows.get(key, -1) for key in ids], np.int64)
    return places


def _one_row(places: npt.NDArray[np.int64], values: Matrix, width: int) -> Csr:
    known = places >= 0
    columns = places[known].astype(np.int32)
    return csr_from_pairs(np.zeros_like(columns), columns, values[known], (1, width))
