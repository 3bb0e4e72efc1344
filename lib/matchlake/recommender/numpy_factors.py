"""Factor models in memory: rows of factors and biases, and the methods that need only these."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import compress
from typing import Any, ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from matchlake.engine.top_k import (
    Best,
    Targets,
    lists_of,
    pack_targets,
    require_k,
    select_top_k,
    top_k,
    top_k_among,
)
from matchlake.formulas.onnx import Graph
from matchlake.recommender.co_rating import CoRatingMetric, distances, log_densities
from matchlake.recommender.id_types import exact_ids, known_place, places_of
from matchlake.recommender.numpy_answers import Choice, Listed
from matchlake.recommender.onnx_scores import UserFactors, factor_scores
from matchlake.recommender.parts import array_of, matrix_of
from matchlake.recommender.protocol import (
    ALL_FACTOR_VERBS,
    Capability,
    Metric,
    NumpyRecommender,
    require,
)
from matchlake.recommender.sides import ITEM, KEYS, USER

Matrix = npt.NDArray[np.float32]


class Row(NamedTuple):
    """One user or item: factors, shape (rank,), and bias."""

    factors: Matrix
    bias: float
    is_cold_start: bool = False
    """Whether nothing is known about the row, so that it is treated like an unknown id."""


@dataclass(frozen=True)
class NumpySide:
    """Users or items, with cached data for queries."""

    ids: Sequence[Any]
    factors: Matrix
    bias: Matrix
    n_interactions: npt.NDArray[np.int64] | None = None

    @staticmethod
    def of(table: pa.Table, side: int, rank: int) -> "NumpySide":
        """One side of saved parts."""
        counts = array_of(table, "n_interactions", np.int64)
        factors = matrix_of(table, "factors", rank)
        return NumpySide(
            table[KEYS[side]].to_pylist(), factors, array_of(table, "bias", np.float32), counts
        )

    def plain(self, *, by_popularity: bool) -> Matrix:
        """Returns the scores of the rows for an unknown query."""
        if not by_popularity or self.n_interactions is None:
            return self.bias.astype(np.float32)
        total = max(1, int(self.n_interactions.sum()))
        return (self.n_interactions / total).astype(np.float32)

    def with_rows(self, rows: Mapping[Any, tuple[Row, int]]) -> "NumpySide":
        """Adds rows with their numbers of interactions, or replaces them by id.

        Cold-start rows are left out.
        """
        keys = exact_ids([*rows], self.places, "the new id")
        pairs = zip(keys, rows.values(), strict=True)
        known = {key: row for key, row in pairs if key is not None and not row[0].is_cold_start}
        keep = np.array([key not in known for key in self.ids], bool)
        counts = np.ones(len(self.ids), np.int64)
        counts = counts if self.n_interactions is None else self.n_interactions
        rank = self.factors.shape[1]
        factors = np.array([row.factors for row, _ in known.values()], np.float32)
        return NumpySide(
            [*compress(self.ids, keep), *known],
            np.concatenate([self.factors[keep], factors.reshape(len(known), rank)]),
            np.append(self.bias[keep], [row.bias for row, _ in known.values()]).astype(np.float32),
            np.append(counts[keep], [count for _, count in known.values()]).astype(np.int64),
        )

    @cached_property
    def trained(self) -> npt.NDArray[np.bool_]:
        """Returns which rows have interactions; all rows if this is unknown."""
        if self.n_interactions is None:
            return np.ones(len(self.ids), bool)
        return np.asarray(self.n_interactions) > 0

    @cached_property
    def places(self) -> dict[Any, int]:
        """The row of each id."""
        return {key: row for row, key in enumerate(self.ids)}

    def queries(self, entries: Sequence[Any]) -> tuple[Matrix, npt.NDArray[np.float64]]:
        """Returns vectors (factors, then 1) and biases of ids or rows; NaN and 0 if unknown."""
        rows = places_of(self.places, [None if isinstance(e, Row) else e for e in entries])
        vectors = np.full((len(entries), self.factors.shape[1] + 1), np.nan, np.float32)
        bias, known = np.zeros(len(entries)), rows >= 0
        vectors[known, :-1], vectors[known, -1] = self.factors[rows[known]], 1.0
        bias[known] = self.bias[rows[known]]
        for number, entry in enumerate(entries):
            if isinstance(entry, Row) and not entry.is_cold_start:
                vectors[number, :-1], vectors[number, -1] = entry.factors, 1.0
                bias[number] = entry.bias
        return vectors, bias

    @cached_property
    def matrix(self) -> Matrix:
        """Factors, then the bias."""
        return np.column_stack([self.factors, self.bias]).astype(np.float32, copy=False)

    @cached_property
    def targets(self) -> Targets:
        """The matrix as `top_k` reads it."""
        return pack_targets(self.matrix)

    @cached_property
    def unit(self) -> Matrix:
        """Factors scaled to length 1."""
        norms = np.linalg.norm(self.factors, axis=1, keepdims=True)
        unit: Matrix = (self.factors / np.maximum(norms, 1e-12)).astype(np.float32)
        return unit

    @cached_property
    def unit_targets(self) -> Targets:
        """Unit rows as `top_k` reads them."""
        return pack_targets(self.unit)

    @cached_property
    def metric(self) -> CoRatingMetric:
        """The co-rating metric for the rows of the other side."""
        exact = self.factors[self.trained].astype(np.float64)
        return CoRatingMetric.of(len(exact), exact.sum(axis=0), exact.T @ exact, 1.0)


class NumpyFactorRecommender(NumpyRecommender):
    """The methods of models that are, or contain, two sides of factors."""

    @property
    def sides(self) -> tuple[NumpySide, NumpySide]:
        """Users and items."""
        raise NotImplementedError

    @property
    def level(self) -> float:
        """The mean, which is added to every score."""
        raise NotImplementedError

    @property
    def by_popularity(self) -> bool:
        """Whether unknown queries get the targets with the most interactions."""
        return False

    @property
    def trained_ids(self) -> tuple[frozenset[Any], frozenset[Any]]:
        """The users and the items that had interactions in the fit."""
        users, items = (frozenset(compress(side.ids, side.trained)) for side in self.sides)
        return users, items

    def places(self, side: int) -> Mapping[Any, int]:
        """The row of each user (side 0) or item (side 1)."""
        return self.sides[side].places

    def onnx_scores(self, graph: Graph, user: str) -> str:
        """The scores of all items for a user, as nodes of a graph, [1, items]."""
        return self.onnx_scores_with(graph, user, None)

    def onnx_scores_with(self, graph: Graph, user: str, unknown: Row | None) -> str:
        """Like `onnx_scores`, with the row of an unknown user; None: the items' own scores."""
        users, items = self.sides
        last = unknown or Row(np.zeros(users.factors.shape[1], np.float32), 0.0)
        given = UserFactors(
            users.ids,
            np.vstack([users.factors, last.factors[None]]).astype(np.float32),
            (np.append(users.bias, last.bias) + self.level).astype(np.float32),
        )
        plain = None if unknown else items.plain(by_popularity=self.by_popularity)
        both = items.factors.astype(np.float32), items.bias.astype(np.float32)
        return factor_scores(graph, user, given, both, plain)

    def scores_of(self, users: Sequence[Any], items: Sequence[Any]) -> Matrix:
        """Returns scores of pairs; an unknown user or item adds nothing to the mean."""
        sides = self.sides
        own, other = map(places_of, [side.places for side in sides], (users, items))
        dots = np.einsum("nk,nk->n", sides[USER].factors[own], sides[ITEM].factors[other])
        scores = self.level + np.where((own >= 0) & (other >= 0), dots, 0.0)
        scores += np.where(own >= 0, sides[USER].bias[own], 0.0)
        scores += np.where(other >= 0, sides[ITEM].bias[other], 0.0)
        return scores.astype(np.float32)

    def best_of(self, side: int, entries: Sequence[Any], k: int, choice: Choice) -> Best:
        """The best rows of the other side for each entry: an id, or a `Row`.

        An unknown id gets the targets of the highest bias. In an implicit fit, it gets the targets
        with the most interactions, with their share of all interactions as the score.
        """
        targets = self.sides[1 - side]
        vectors, bias = self.sides[side].queries(entries)
        levels = (self.level + bias).astype(np.float32)
        plain = targets.plain(by_popularity=self.by_popularity)
        return best_rows(targets, (vectors, levels, plain), k, choice)

    def similar_items(self, item: Any, k: int, *, metric: Metric = "cosine") -> Listed:
        """The `k` most similar items of an item, without itself; KeyError if it is unknown."""
        require(self, "similar", "similar_items")
        return self._similar(item, k, ITEM, metric)

    def similar_users(self, user: Any, k: int, *, metric: Metric = "cosine") -> Listed:
        """Returns the `k` most similar users of a user, like `similar_items`."""
        require(self, "similar", "similar_users")
        return self._similar(user, k, USER, metric)

    def related_items(self, item: Any, k: int) -> Listed:
        """The `k` trained items with the most similar rating patterns, as (item_id, distance).

        The distance is that of one user's ratings; 0 means equal ratings, see
        `co_rating.distances`. `item` is an id or a `Row`. Raises KeyError if an id is unknown.
        """
        require(self, "related", "related_items")
        return related(item, k, self.sides[ITEM], self.sides[USER].metric)

    def related_users(self, user: Any, k: int) -> Listed:
        """Like `related_items`, for users."""
        require(self, "related", "related_users")
        return related(user, k, self.sides[USER], self.sides[ITEM].metric)

    def _similar(self, key: Any, k: int, number: int, metric: Metric) -> Listed:
        if metric == "co_rating":
            return related(key, k, self.sides[number], self.sides[1 - number].metric)
        require_k(k)
        side = self.sides[number]
        row = known_place(side.places, key, ("user", "item")[number])
        own = lists_of(np.zeros(1, np.int64), np.array([row]), 1, len(side.ids))
        best = top_k(side.unit[row : row + 1], side.unit_targets, k, own)
        listed = best.places[0] >= 0
        pairs = zip(best.places[0][listed], best.scores[0][listed], strict=True)
        return [(side.ids[place], float(score)) for place, score in pairs]


def related(entity: Any, k: int, side: NumpySide, metric: CoRatingMetric) -> Listed:
    """Returns the trained rows of one side that are most similar to an id or a row."""
    require_k(k)
    own = -1
    if not isinstance(entity, Row):
        own = known_place(side.places, entity, "the id")
        entity = Row(side.factors[own], float(side.bias[own]))
    query = metric.project(entity.factors[None], np.array([entity.bias], np.float32))
    targets = metric.project(side.factors, side.bias)
    scores = log_densities(*query, *targets, metric.noise)
    scores[0, ~side.trained] = -np.inf
    if own >= 0:
        scores[0, own] = -np.inf
    best = select_top_k(scores, k)
    listed = best.places[0] >= 0
    shown = distances(best.scores[0][listed], metric.noise)
    pairs = zip(best.places[0][listed], shown, strict=True)
    return [(side.ids[index], float(distance)) for index, distance in pairs]


def best_rows(
    targets: NumpySide, scored: tuple[Matrix, Matrix, Matrix], k: int, choice: Choice
) -> Best:
    """Returns the best targets of each query vector; `scored` has vectors, levels, default scores.

    A vector of NaN is an unknown query. The levels are added to the scores.
    """
    vectors, levels, plain = scored
    if choice.among is None:
        best = top_k(vectors, targets.targets, k, choice.without, plain)
    else:
        best = top_k_among(vectors, targets.matrix, k, choice.among, plain)
    return Best(best.places, best.scores + levels[:, None])


@dataclass(frozen=True)
class NumpyFactors(NumpyFactorRecommender):
    """Two sides and a mean: the ranking part of a model."""

    users: NumpySide
    items: NumpySide
    mean: float = 0.0

    capabilities: ClassVar[frozenset[Capability]] = ALL_FACTOR_VERBS

    @property
    def sides(self) -> tuple[NumpySide, NumpySide]:
        """Users and items."""
        return self.users, self.items

    @property
    def level(self) -> float:
        """The mean, which is added to every score."""
        return self.mean

    @property
    def user_ids(self) -> Sequence[Any]:
        """All users."""
        return self.users.ids

    @property
    def item_ids(self) -> Sequence[Any]:
        """All items."""
        return self.items.ids
