"""A factor model as NumPy arrays: the same answers with no Spark, for serving."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import compress
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from matchlake.engine.csr import Csr, Ints, csr_from_pairs
from matchlake.engine.top_k import Targets, lists_of, pack_targets, require_k, top_k
from matchlake.errors import InputError
from matchlake.recommender.als.fold_in import FixedSide, fixed_side, fold_in, history_problem
from matchlake.recommender.als.params import AlsParams, needed
from matchlake.recommender.densities import Geometry, log_densities

Matrix = npt.NDArray[np.float32]


class Row(NamedTuple):
    """One user or item: factors, shape (rank,), and bias."""

    factors: Matrix
    bias: float
    cold: bool = False
    """Whether nothing is known of it, so that it gets what an unknown id gets."""


@dataclass(frozen=True)
class _Side:
    """Users or items, with what answers need and is made once."""

    ids: Sequence[Any]
    factors: Matrix
    bias: Matrix
    observed: npt.NDArray[np.int64] | None

    def row(self, key: Any) -> Row | None:
        """The row of an id; None where it is unknown."""
        place = self.places.get(key)
        return None if place is None else Row(self.factors[place], float(self.bias[place]))

    def plain(self, *, popular: bool) -> Matrix:
        """What the rows score for a query that is unknown."""
        if not popular or self.observed is None:
            return self.bias.astype(np.float32)
        return (self.observed / max(1, int(self.observed.sum()))).astype(np.float32)

    @cached_property
    def trained(self) -> npt.NDArray[np.bool_]:
        """Which rows have interactions of their own; all, where that is not known."""
        if self.observed is None:
            return np.ones(len(self.ids), bool)
        return np.asarray(self.observed) > 0

    @cached_property
    def places(self) -> dict[Any, int]:
        """The row of each id."""
        return {key: row for row, key in enumerate(self.ids)}

    @cached_property
    def targets(self) -> Targets:
        """Factors, then the bias."""
        return pack_targets(np.column_stack([self.factors, self.bias]))

    @cached_property
    def unit(self) -> Matrix:
        """Factors scaled to length 1."""
        norms = np.linalg.norm(self.factors, axis=1, keepdims=True)
        unit: Matrix = (self.factors / np.maximum(norms, 1e-12)).astype(np.float32)
        return unit

    @cached_property
    def unit_targets(self) -> Targets:
        """The same, to be looked through."""
        return pack_targets(self.unit)


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
        users, items = map(_places, [side.places for side in self._sides], (user_ids, item_ids))
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
        return self._recommend(user, k, self._sides, exclude, candidates)

    def recommend_users(
        self,
        item: Any,
        k: int,
        *,
        exclude: Collection[Any] = (),
        candidates: Collection[Any] | None = None,
    ) -> list[tuple[Any, float]]:
        """The `k` best users for an item as (user_id, score): `recommend_items`, sides exchanged.

        A `Row` is what `fold_in_item` gave.
        """
        return self._recommend(item, k, self._sides[::-1], exclude, candidates)

    def similar_items(self, item_id: Any, k: int) -> list[tuple[Any, float]]:
        """The `k` items most like an item by the cosine of their factors, without itself.

        Raises KeyError where the item is unknown.
        """
        return _similar(self._sides[1], item_id, k)

    def similar_users(self, user_id: Any, k: int) -> list[tuple[Any, float]]:
        """The `k` users most like a user, as `similar_items`."""
        return _similar(self._sides[0], user_id, k)

    def related_items(self, item: Any, k: int) -> list[tuple[Any, float]]:
        """The `k` items that a random user is likeliest to rate as `item`, an id or a `Row`.

        As (item_id, log density), the likest first; see `modes.related_items`. Raises KeyError
        where an id is unknown.
        """
        return _related(item, k, self._sides[1], self._by_users)

    def related_users(self, user: Any, k: int) -> list[tuple[Any, float]]:
        """As `related_items`, for users."""
        return _related(user, k, self._sides[0], self._by_items)

    def fold_in(self, history: Mapping[Any, float]) -> Row:
        """The row of a new or changed user from {item_id: rating or strength}.

        Solves the user's least squares problem exactly, with the items as they are; unknown items
        do not count. A row without a known item is `cold`. Raises InputError for a value that a fit
        would refuse.
        """
        return _folded(self._history(history), self._fixed_items)

    def fold_in_item(self, history: Mapping[Any, float]) -> Row:
        """As `fold_in`, for an item, from {user_id: rating or strength}."""
        places = _places(self._sides[0].places, list(history))
        values = self._values(history)
        return _folded(_one_row(places, values, len(self.user_ids)), self._fixed_users)

    def explain(self, item_id: Any, history: Mapping[Any, float]) -> list[tuple[Any, float]]:
        """What each item of a history adds to the score of `item_id`, the most first.

        The score of a user folded in from `history` is `mean` + the item's bias + the sum of these
        parts: with A the user's normal matrix, item j adds `w_j t_j * design_j' A^-1 design`
        (Hu, Koren and Volinsky 2008, section 5). Raises KeyError where `item_id` is unknown.
        """
        problem = history_problem(self._history(history), self._fixed_items)
        design = problem.design[problem.columns].astype(np.float64)
        weights = problem.slope * problem.values + problem.base
        pulls = problem.gain * problem.values - problem.offsets[problem.columns]
        pulls += problem.shift * (problem.values > 0)
        normal = (design.T * weights) @ design + problem.ridge[0] * np.eye(design.shape[1])
        if problem.gram.size:
            normal += problem.gram
        parts = pulls * (design @ np.linalg.lstsq(normal, self._design(item_id), rcond=None)[0])
        order = np.argsort(-parts, kind="stable")
        return [(self.item_ids[problem.columns[j]], float(parts[j])) for j in order]

    def _design(self, item_id: Any) -> npt.NDArray[np.float64]:
        row: npt.NDArray[np.float64] = self._fixed_items.rows[
            self._sides[1].places[item_id]
        ].astype(float)
        if self.params.has_bias:
            row[self.params.rank] = 1.0
        return row

    def _history(self, history: Mapping[Any, float]) -> Csr:
        places = _places(self._sides[1].places, list(history))
        return _one_row(places, self._values(history), len(self.item_ids))

    def _values(self, history: Mapping[Any, float]) -> Matrix:
        values = np.array(list(history.values()), np.float32)
        unfit = ~np.isfinite(values)
        if self.params.feedback == "implicit":
            unfit |= values < 0
        if unfit.any():
            key, value = list(history.items())[int(np.argmax(unfit))]
            raise InputError(f"{key!r}: {value!r} cannot be folded in. {needed(self.params)}")
        return values

    def _recommend(
        self,
        query: Any,
        k: int,
        sides: Sequence["_Side"],
        exclude: Collection[Any],
        candidates: Collection[Any] | None,
    ) -> list[tuple[Any, float]]:
        require_k(k)
        queries, targets = sides
        row = query if isinstance(query, Row) else queries.row(query)
        vector = np.full((1, self.params.rank + 1), np.nan, np.float32)
        level = self.mean
        if row is not None and not row.cold:
            vector[0] = np.append(row.factors, 1.0)
            level += row.bias
        without = _places(targets.places, list(exclude))
        if candidates is not None:
            allowed = _places(targets.places, list(candidates))
            others = np.ones(len(targets.ids), bool)
            others[allowed[allowed >= 0]] = False
            without = np.union1d(without, np.flatnonzero(others))
        plain = targets.plain(popular=self.params.feedback == "implicit")
        return _best(targets, (vector, targets.targets, plain), k, without, level)

    @property
    def trained_ids(self) -> tuple[frozenset[Any], frozenset[Any]]:
        """The users and the items that had interactions in the fit."""
        users, items = (frozenset(compress(side.ids, side.trained)) for side in self._sides)
        return users, items

    @cached_property
    def _sides(self) -> tuple["_Side", "_Side"]:
        return (
            _Side(self.user_ids, self.user_factors, self.user_bias, self.user_observed),
            _Side(self.item_ids, self.item_factors, self.item_bias, self.item_observed),
        )

    @cached_property
    def _by_users(self) -> Geometry:
        return _geometry(self._sides[0])

    @cached_property
    def _by_items(self) -> Geometry:
        return _geometry(self._sides[1])

    @cached_property
    def _fixed_items(self) -> FixedSide:
        return fixed_side(self.item_factors, self.item_bias, self.mean, self.params)

    @cached_property
    def _fixed_users(self) -> FixedSide:
        return fixed_side(self.user_factors, self.user_bias, self.mean, self.params)


def _similar(side: _Side, key: Any, k: int) -> list[tuple[Any, float]]:
    require_k(k)
    row = side.places[key]
    query = side.unit[row : row + 1]
    return _best(side, (query, side.unit_targets, None), k, np.array([row]), 0.0)


def _best(
    targets: _Side,
    scored: tuple[Matrix, Targets, Matrix | None],
    k: int,
    without: npt.NDArray[np.int64],
    level: float,
) -> list[tuple[Any, float]]:
    query, rows, plain = scored
    lists = lists_of(np.zeros(len(without), np.int64), without, 1, rows.size)
    best = top_k(query, rows, k, lists, plain)
    places, scores = best.places[0], best.scores[0]
    kept = places >= 0
    found = zip(places[kept], scores[kept], strict=True)
    return [(targets.ids[place], float(score + np.float32(level))) for place, score in found]


def _places(rows: Mapping[Any, int], ids: Sequence[Any]) -> npt.NDArray[np.int64]:
    places: Ints = np.array([rows.get(key, -1) for key in ids], np.int64)
    return places


def _one_row(places: npt.NDArray[np.int64], values: Matrix, width: int) -> Csr:
    known = places >= 0
    columns = places[known].astype(np.int32)
    return csr_from_pairs(np.zeros_like(columns), columns, values[known], (1, width))


def _folded(history: Csr, fixed: FixedSide) -> Row:
    factors, bias = fold_in(history, fixed)
    return Row(factors[0], float(bias[0]), cold=not len(history.columns))


def _geometry(others: _Side) -> Geometry:
    exact = others.factors[others.trained].astype(np.float64)
    return Geometry.of(len(exact), exact.sum(axis=0), exact.T @ exact, 1.0)


def _related(entity: Any, k: int, side: _Side, geometry: Geometry) -> list[tuple[Any, float]]:
    """The likest of one side's trained rows to an id of it, or to a row."""
    require_k(k)
    own = -1
    if not isinstance(entity, Row):
        own = side.places[entity]
        entity = Row(side.factors[own], float(side.bias[own]))
    query = geometry.placed(entity.factors[None], np.array([entity.bias], np.float32))
    targets = geometry.placed(side.factors, side.bias)
    scores = log_densities(*query, *targets, geometry.noise)[0]
    best = np.argsort(-scores, kind="stable")
    best = best[(best != own) & side.trained[best]][:k]
    return [(side.ids[place], float(scores[place])) for place in best]
