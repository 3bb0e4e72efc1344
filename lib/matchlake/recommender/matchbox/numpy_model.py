"""A Matchbox model as NumPy arrays: predicts, recommends and folds in without Spark."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, ClassVar, NamedTuple

import numpy as np
import pyarrow as pa

from matchlake.engine.csr import Floats, Ints
from matchlake.engine.top_k import Best
from matchlake.errors import InputError
from matchlake.formulas.onnx import Graph
from matchlake.recommender.id_types import exact_ids, places_of
from matchlake.recommender.matchbox.fold_in import (
    NewRatings,
    features_of,
    fold_in,
    posterior_of,
    require_valid,
)
from matchlake.recommender.matchbox.posterior import Posterior, low_rank_row, samples_of
from matchlake.recommender.matchbox.prediction import (
    Prediction,
    Predictor,
    covariances,
    user_responses,
)
from matchlake.recommender.matchbox.report import PosteriorReport
from matchlake.recommender.matchbox.row_encoder import RowEncoder
from matchlake.recommender.numpy_answers import Choice, entries_of
from matchlake.recommender.numpy_factors import NumpyFactors, NumpySide, Row
from matchlake.recommender.parts import array_of, matrix_of
from matchlake.recommender.protocol import (
    Capability,
    Metric,
    ModelParts,
    NumpyRecommender,
    refuse,
)
from matchlake.recommender.sides import ITEM, KEYS, USER

_AT_ONCE = 1024
"""The number of pairs that are predicted at a time, to limit memory."""

REPORT, ENCODERS = "report.bin", ("user_features.json", "item_features.json")
"""Files of a saved model."""


class MatchboxRow(NamedTuple):
    """A folded-in user or item: its samples (samples, columns), and its low-rank row."""

    samples: Floats
    low_rank: Row
    prior_share: float
    """The fraction of the prior variance that remains after the ratings."""
    n_interactions: int = 0


@dataclass(frozen=True)
class NumpyMatchboxModel(NumpyRecommender):
    """A fitted posterior in memory.

    `fitted` has the low-rank rows, ids and counts of the fit. `samples` has the factors of users
    and of items, each of shape (rows, samples, columns); the bias is the last column. `response`
    (users, samples, width) has the likelihood parameters of the trained users. `folded` has the
    folded-in rows by id. Scores and rankings have no day effects. Spark's `score` has them: for an
    unknown day it adds the average day effect.
    """

    fitted: NumpyFactors
    samples: tuple[Floats, Floats]
    response: Floats
    report: PosteriorReport
    encoders: tuple[RowEncoder | None, RowEncoder | None]
    folded: tuple[Mapping[Any, MatchboxRow], Mapping[Any, MatchboxRow]] = field(
        default_factory=lambda: ({}, {})
    )

    capabilities: ClassVar[frozenset[Capability]] = frozenset(
        {
            "recommend_users",
            "similar",
            "related",
            "fold_in_users",
            "fold_in_items",
            "features",
            "uncertainty",
        }
    )

    @property
    def user_ids(self) -> Sequence[Any]:
        """The ids of all users; trained users come first."""
        return self.ranking.user_ids

    @property
    def item_ids(self) -> Sequence[Any]:
        """The ids of all items; trained items come first."""
        return self.ranking.item_ids

    @property
    def trained_ids(self) -> tuple[frozenset[Any], frozenset[Any]]:
        """The users and the items that had ratings in the fit."""
        return self.fitted.trained_ids

    def places(self, side: int) -> Mapping[Any, int]:
        """The row of each user (side 0) or item (side 1)."""
        return self.ranking.sides[side].places

    def scores_of(self, users: Sequence[Any], items: Sequence[Any]) -> Floats:
        """Returns expected ratings of pairs; see `predict`."""
        return self.predict(users, items).scores

    def best_of(self, side: int, entries: Sequence[Any], k: int, choice: Choice) -> Best:
        """Returns the best rows of the other side for each entry, an id or a `MatchboxRow`.

        An unknown id is treated as the average row. The scores are expected ratings.
        """
        queries = [self._query(side, entry) for entry in entries]
        best = self.ranking.best_of(side, queries, k, choice)
        # for rating levels, the scores of a ranking are latent numbers
        return best if self.report.rating_levels is None else self._rated(best, entries, side)

    def onnx_scores(self, graph: Graph, user: str) -> str:
        """The posterior mean scores of all items for a user, as nodes of a graph, [1, items]."""
        if self.report.rating_levels is not None:
            refuse(self, "onnx_scores")
        average = Row(*low_rank_row(self.report.sides[USER]))
        return self.ranking.onnx_scores_with(graph, user, average)

    def predict(
        self,
        users: Sequence[Any],
        items: Sequence[Any],
        clip: tuple[float, float] | None = None,
    ) -> Prediction:
        """Predicts expected ratings of pairs, standard deviations, and level probabilities.

        Users and items are ids or `MatchboxRow`s; an unknown id is treated as the average row.
        Scores are limited to `clip`.
        """
        users, items = (
            entries_of(each, self.places(side)) for side, each in enumerate((users, items))
        )
        parts = [
            self._predict(users[begin : begin + _AT_ONCE], items[begin : begin + _AT_ONCE], clip)
            for begin in range(0, max(1, len(users)), _AT_ONCE)
        ]
        levels = [p.level_probabilities for p in parts if p.level_probabilities is not None]
        return Prediction(
            np.concatenate([part.scores for part in parts]),
            np.concatenate([part.rating_std for part in parts]),
            np.concatenate(levels) if levels else None,
        )

    def similar_items(
        self, item: Any, k: int, *, metric: Metric = "cosine"
    ) -> list[tuple[Any, float]]:
        """The `k` most similar items of an item, without itself; KeyError if it is unknown."""
        return self.ranking.similar_items(item, k, metric=metric)

    def similar_users(
        self, user: Any, k: int, *, metric: Metric = "cosine"
    ) -> list[tuple[Any, float]]:
        """Returns the `k` most similar users of a user, like `similar_items`."""
        return self.ranking.similar_users(user, k, metric=metric)

    def related_items(self, item: Any, k: int) -> list[tuple[Any, float]]:
        """The `k` trained items with rating patterns most similar to an item's (id or row)."""
        return self.ranking.related_items(_ranked(item), k)

    def related_users(self, user: Any, k: int) -> list[tuple[Any, float]]:
        """The `k` trained users with rating patterns most similar to a user's (id or row)."""
        return self.ranking.related_users(_ranked(user), k)

    def fold_in(
        self,
        *,
        users: Mapping[Any, Mapping[Any, float]] | None = None,
        items: Mapping[Any, Mapping[Any, float]] | None = None,
        user_features: Mapping[Any, Mapping[str, Any]] | None = None,
        item_features: Mapping[Any, Mapping[str, Any]] | None = None,
    ) -> "NumpyMatchboxModel":
        """Adds or changes users, given as {user_id: {item_id: rating}}, and items.

        Features are given as {user_id: {column: value}}; an id can have ratings, features or both.
        """
        folded = []
        for side, ratings, features in (
            (USER, users or {}, user_features or {}),
            (ITEM, items or {}, item_features or {}),
        ):
            histories, columns = (
                dict(zip(exact_ids([*each], self.places(side)), each.values(), strict=True))
                for each in (ratings, features)
            )
            ids = dict.fromkeys([*histories, *columns])
            rows = {
                key: self._fold_in(side, histories.get(key, {}), columns.get(key)) for key in ids
            }
            folded.append({**self.folded[side], **rows})
        return replace(self, folded=(folded[USER], folded[ITEM]))

    def fold_in_user(
        self, history: Mapping[Any, float], features: Mapping[str, Any] | None = None
    ) -> MatchboxRow:
        """Returns the row of a new or changed user, from {item_id: rating} and features.

        Without ratings the row is the prior mean of the features. A rating is ignored if the item
        had no ratings in the fit. Absent features count as missing. Raises InputError for a rating
        that is not finite, or that is not one of the rating levels.
        """
        return self._fold_in(USER, history, features)

    def fold_in_item(
        self, history: Mapping[Any, float], features: Mapping[str, Any] | None = None
    ) -> MatchboxRow:
        """Like `fold_in_user`, for an item, from {user_id: rating}."""
        return self._fold_in(ITEM, history, features)

    @cached_property
    def ranking(self) -> NumpyFactors:
        """The low-rank rows for rankings, folded-in rows included."""
        sides = [
            side.with_rows({key: (row.low_rank, row.n_interactions) for key, row in new.items()})
            if new
            else side
            for side, new in zip(self.fitted.sides, self.folded, strict=True)
        ]
        return NumpyFactors(sides[USER], sides[ITEM], self.fitted.mean)

    def _query(self, side: int, entry: Any) -> Any:
        """Returns the query for `ranking`: a known id, a low-rank row, or the average row."""
        entry = _ranked(entry)
        if isinstance(entry, Row) or entry in self.ranking.sides[side].places:
            return entry
        return Row(*low_rank_row(self.report.sides[side]))

    def _rated(self, best: Best, entries: Sequence[Any], side: int) -> Best:
        """Returns the lists with expected ratings as scores."""
        rows, ranks = np.nonzero(best.places >= 0)
        ids = self.item_ids if side == USER else self.user_ids
        others = [ids[place] for place in best.places[rows, ranks].tolist()]
        mine = [entries[row] for row in rows.tolist()]
        if mine:
            pair = (mine, others) if side == USER else (others, mine)
            best.scores[rows, ranks] = self.scores_of(*pair)
        return best

    def _fold_in(
        self, side: int, history: Mapping[Any, float], features: Mapping[str, Any] | None
    ) -> MatchboxRow:
        require_valid(np.array(list(history.values()), np.float32), self.report.rating_levels)
        others, trained = self.fitted.sides[1 - side].places, self.report.sizes[1 - side]
        indices = places_of(others, [*history])
        pairs = sorted(zip(indices.tolist(), history.values(), strict=True))
        rated = {index: value for index, value in pairs if 0 <= index < trained}
        own = np.array(list(rated), np.int32)
        values = np.array(list(rated.values()), np.float32)
        new = NewRatings(np.zeros(len(own), np.int32), own, values, 1)
        vectors = self._vectors(side, features)
        samples, share = fold_in(
            self._posteriors[side], side, new, features_of(self.report, side, new, vectors)
        )
        ranked = Row(*low_rank_row(self.report.sides[side], samples[0]))
        return MatchboxRow(samples[0], ranked, float(share[0]), len(own))

    def _vectors(self, side: int, row: Mapping[str, Any] | None) -> Floats | None:
        encoder = self.encoders[side]
        if encoder is not None:
            return encoder.encode(row or {})
        if row is not None:
            name = ("user", "item")[side]
            text = f"The model was fitted without {name} features: pass no {name} features."
            raise InputError(text)
        return None

    @cached_property
    def _posteriors(self) -> tuple[Posterior, Posterior]:
        """Returns the posteriors for the fold-in of users and of items."""
        sizes = self.report.sizes
        return (
            posterior_of(self.report, USER, self.samples[ITEM][: sizes[ITEM]], None),
            posterior_of(self.report, ITEM, self.samples[USER][: sizes[USER]], self.response),
        )

    def _predict(
        self, users: Sequence[Any], items: Sequence[Any], clip: tuple[float, float] | None
    ) -> Prediction:
        count = len(users)
        rows, shares = zip(self._rows(USER, users), self._rows(ITEM, items), strict=True)
        own = self._places(USER, users)
        trained = (own >= 0) & (own < len(self.response))
        predictor = Predictor(
            mean=self.report.mean,
            rows=np.concatenate(rows),
            prior_share=np.concatenate(shares),
            covariances=self._covariances,
            response=user_responses(self.report, trained, self.response[own[trained]]),
            levels=self.report.rating_levels,
        )
        indices = np.stack([np.arange(count), count + np.arange(count)], axis=1)
        return predictor.predict(indices.astype(np.int32), clip)

    def _rows(self, side: int, entries: Sequence[Any]) -> tuple[Floats, Floats]:
        """Returns the samples of each entry, and the remaining fraction of the prior variance."""
        indices, priors = self._places(side, entries), self.report.sides[side]
        rows = self.samples[side][indices]
        rows[indices < 0] = priors.average
        known = (indices >= 0) & self.fitted.sides[side].trained[indices]
        shares = np.where(known, 0.0, priors.cold_share).astype(np.float32)
        for number, entry in enumerate(entries):
            row = entry if isinstance(entry, MatchboxRow) else self.folded[side].get(entry)
            if row is not None:
                rows[number], shares[number] = row.samples, row.prior_share
        return rows, shares

    def _places(self, side: int, entries: Sequence[Any]) -> Ints:
        """The row number of each entry in the fit; -1 if the entry is unknown or folded in."""
        folded = self.folded[side]
        known = [
            None if isinstance(entry, MatchboxRow) or entry in folded else entry
            for entry in entries
        ]
        return places_of(self.fitted.sides[side].places, known)

    @cached_property
    def _covariances(self) -> Floats:
        return covariances(self.report, 2)


def _ranked(entry: Any) -> Any:
    return entry.low_rank if isinstance(entry, MatchboxRow) else entry


def load_numpy(parts: ModelParts[pa.Table]) -> NumpyMatchboxModel:
    """The NumPy model of saved parts."""
    report = PosteriorReport.from_bytes(parts.files[REPORT])
    shape = report.samples, report.sides[USER].average.shape[1]
    sides, samples = [], []
    for side, table in ((USER, parts.users), (ITEM, parts.items)):
        biases = matrix_of(table, "biases", report.samples)
        rank = report.sides[side].projection.shape[1]
        sides.append(
            NumpySide(
                table[KEYS[side]].to_pylist(),
                matrix_of(table, "low_rank", rank),
                array_of(table, "mean_bias", np.float32),
                array_of(table, "n_interactions", np.int64),
            )
        )
        samples.append(samples_of(matrix_of(table, "factors"), biases, shape))
    trained = report.sizes[USER]
    response = matrix_of(parts.users.slice(0, trained), "response")
    encoders = [
        RowEncoder(parts.files[name].decode()) if name in parts.files else None for name in ENCODERS
    ]
    return NumpyMatchboxModel(
        NumpyFactors(sides[USER], sides[ITEM], report.mean),
        (samples[USER], samples[ITEM]),
        response.reshape(trained, report.samples, -1),
        report,
        (encoders[USER], encoders[ITEM]),
    )
