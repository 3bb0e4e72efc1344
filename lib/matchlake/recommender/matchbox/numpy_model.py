"""A Matchbox posterior as NumPy arrays: the four modes and cold start without Spark."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from matchlake.engine.csr import Floats, Ints
from matchlake.engine.packing import Array
from matchlake.errors import InputError
from matchlake.recommender.als.numpy_model import NumpyFactorModel, Row
from matchlake.recommender.matchbox.fold_in import NewRatings, fold_in, refuse_unfit
from matchlake.recommender.matchbox.posterior import (
    Posterior,
    SidePosterior,
    compact_row,
    priors_of,
)
from matchlake.recommender.matchbox.prediction import (
    Prediction,
    Predictor,
    covariances,
    user_spread,
)
from matchlake.recommender.matchbox.row_encoder import RowEncoder
from matchlake.recommender.matchbox.sampler.history_features import beside, dense_rows, history_of
from matchlake.recommender.matchbox.sampler.link_matrix import Features
from matchlake.recommender.matchbox.sampler.ratings import ITEM, USER

_AT_ONCE = 1024
"""Pairs whose rows of all samples are in memory at a time."""


class MatchboxRow(NamedTuple):
    """A user or item that came after the fit: samples (samples, columns), and what ranks."""

    samples: Floats
    compact: Row
    prior_share: float
    """What its ratings leave of its prior's variance: 1 without any."""


@dataclass(frozen=True)
class NumpyMatchboxModel:
    """A fitted posterior in memory.

    `flat` ranks, and holds ids and counts. `samples` has the rows of users and of items, (rows,
    samples, columns) each, the bias last; `response` the trained users' part of the response,
    (users, samples, width); `report` is that of `MatchboxModel`. Days are left out, here and where
    items are ranked: a score has no day's part, not even the average one that Spark's `score` adds.
    """

    flat: NumpyFactorModel
    samples: tuple[Floats, Floats]
    response: Floats
    report: Mapping[str, Array]
    encoders: tuple[RowEncoder | None, RowEncoder | None]

    @property
    def user_ids(self) -> Sequence[Any]:
        """All users, those known by features only at the end."""
        return self.flat.user_ids

    @property
    def item_ids(self) -> Sequence[Any]:
        """All items likewise."""
        return self.flat.item_ids

    @property
    def trained_ids(self) -> tuple[frozenset[Any], frozenset[Any]]:
        """The users and the items that had ratings in the fit."""
        return self.flat.trained_ids

    def score(self, user_ids: Sequence[Any], item_ids: Sequence[Any]) -> Floats:
        """Expected ratings of pairs; see `predict`."""
        return self.predict(user_ids, item_ids).scores

    def predict(
        self,
        users: Sequence[Any],
        items: Sequence[Any],
        clip: tuple[float, float] | None = None,
    ) -> Prediction:
        """Expected ratings, their deviations and, for levels, chances, of pairs.

        Users and items are ids or `MatchboxRow`s; an unknown id is the average row.
        """
        parts = [
            self._predict(users[begin : begin + _AT_ONCE], items[begin : begin + _AT_ONCE], clip)
            for begin in range(0, max(1, len(users)), _AT_ONCE)
        ]
        chances = [part.chances for part in parts if part.chances is not None]
        return Prediction(
            np.concatenate([part.scores for part in parts]),
            np.concatenate([part.deviations for part in parts]),
            np.concatenate(chances) if chances else None,
        )

    def recommend_items(
        self,
        user: Any,
        k: int,
        *,
        exclude: Collection[Any] = (),
        candidates: Collection[Any] | None = None,
    ) -> list[tuple[Any, float]]:
        """The `k` best items of a user, an id or a `MatchboxRow`, as (item_id, expected rating).

        An unknown id is the average user.
        """
        asked = user.compact if isinstance(user, MatchboxRow) else user
        if not isinstance(asked, Row) and asked not in self._places[USER]:
            asked = Row(*compact_row(self.report, USER))
        found = self.flat.recommend_items(asked, k, exclude=exclude, candidates=candidates)
        if "levels" not in self.report or not found:
            return found
        items = [item for item, _ in found]
        scores = self.score([user] * len(items), items)
        return list(zip(items, map(float, scores), strict=True))

    def related_items(self, item: Any, k: int) -> list[tuple[Any, float]]:
        """The `k` items that a random user is likeliest to rate as an item, id or row."""
        return self.flat.related_items(item.compact if isinstance(item, MatchboxRow) else item, k)

    def related_users(self, user: Any, k: int) -> list[tuple[Any, float]]:
        """The `k` users who rate likest to a user, id or row."""
        return self.flat.related_users(user.compact if isinstance(user, MatchboxRow) else user, k)

    def fold_in(
        self, history: Mapping[Any, float], features: Mapping[str, Any] | None = None
    ) -> MatchboxRow:
        """The row of a new or changed user from {item_id: rating} (or none) and features.

        Without ratings it is the prior mean of the features; items without ratings in the fit do
        not count. Features that are not given count as missing. Raises InputError for a rating that
        is no finite number or, where ratings are levels, none of them.
        """
        return self._fold_in(USER, history, features)

    def fold_in_item(
        self, history: Mapping[Any, float], features: Mapping[str, Any] | None = None
    ) -> MatchboxRow:
        """As `fold_in`, for an item, from {user_id: rating}."""
        return self._fold_in(ITEM, history, features)

    def _fold_in(
        self, side: int, history: Mapping[Any, float], features: Mapping[str, Any] | None
    ) -> MatchboxRow:
        given = np.array(list(history.values()), np.float32)
        refuse_unfit(given, self.report.get("levels"))
        others, trained = self._places[1 - side], int(self.report["sizes"][1 - side])
        rated = {others[key]: value for key, value in history.items() if key in others}
        rated = {place: value for place, value in sorted(rated.items()) if place < trained}
        places = np.array(list(rated), np.int32)
        values = np.array(list(rated.values()), np.float32)
        new = NewRatings(np.zeros(len(places), np.int32), places, values, 1)
        samples, share = fold_in(
            self._posteriors[side], side, new, self._features(side, new, features)
        )
        compact = Row(*compact_row(self.report, side, samples[0]))
        return MatchboxRow(samples[0], compact, float(share[0]))

    def _features(
        self, side: int, new: NewRatings, given: Mapping[str, Any] | None
    ) -> Features | None:
        encoder, width = self.encoders[side], self.report[f"links_{side}"].shape[1]
        seen: Ints = self.report["seen_items" if side == USER else "seen_users"]
        if given is not None and encoder is None:
            raise InputError("The model was fitted without features of this side: give none.")
        vectors = np.zeros((1, width - len(seen)), np.float32)
        if encoder is not None:
            vectors = encoder.encode(given or {})
        rows = dense_rows(vectors) if vectors.shape[1] else None
        if len(seen):
            rows = beside(rows, history_of(new.rows, new.others, 1, seen))
        return None if rows is None else Features(rows)

    @cached_property
    def _posteriors(self) -> tuple[Posterior, Posterior]:
        """For each side what its rows are folded into."""
        return self._posterior(USER), self._posterior(ITEM)

    def _posterior(self, side: int) -> Posterior:
        """The other side's trained rows, and all priors."""
        sides = []
        for number in (USER, ITEM):
            count = 0 if number == side else int(self.report["sizes"][number])
            rows = self.samples[number][:count]
            sides.append(SidePosterior(rows, *priors_of(self.report, number)))
        shared = ("variance", "base", "shared")
        response = {name: self.report[name] for name in shared if name in self.report}
        response["users"] = np.ascontiguousarray(self.response.transpose(1, 0, 2))
        mean, levels = float(self.report["mean"]), self.report.get("levels")
        return Posterior(mean, tuple(sides), response, levels)

    def _predict(
        self, users: Sequence[Any], items: Sequence[Any], clip: tuple[float, float] | None
    ) -> Prediction:
        count = len(users)
        rows, shares = zip(self._gather(USER, users), self._gather(ITEM, items), strict=True)
        predictor = Predictor(
            mean=float(self.report["mean"]),
            rows=np.concatenate(rows),
            prior_share=np.concatenate(shares),
            covariances=self._covariances,
            response=self._spread(users),
            levels=self.report.get("levels"),
        )
        places = np.stack([np.arange(count), count + np.arange(count)], axis=1)
        return predictor.predict(places.astype(np.int32), clip)

    def _gather(self, side: int, asked: Sequence[Any]) -> tuple[Floats, Floats]:
        """The rows of ids, and how much of their prior's variance they keep."""
        places = self._places_of(side, asked)
        rows = self.samples[side][places]
        rows[places < 0] = self.report[f"average_{side}"]
        observed = self.flat.user_observed if side == USER else self.flat.item_observed
        trained = np.ones(len(self.samples[side])) if observed is None else observed
        cold = float(self.report.get(f"cold_share_{side}", 1.0))
        shares = np.where((places >= 0) & (trained[places] > 0), 0.0, cold).astype(np.float32)
        for number, entry in enumerate(asked):
            if isinstance(entry, MatchboxRow):
                rows[number], shares[number] = entry.samples, entry.prior_share
        return rows, shares

    def _spread(self, users: Sequence[Any]) -> Floats:
        """Each user's noise or thresholds; what users share where the fit did not know him."""
        places = self._places_of(USER, users)
        report = self.report
        shared = report["shared"] if "shared" in report else report["variance"][:, None]
        out = np.tile(shared.astype(np.float32), (len(users), 1, 1))
        own = (places >= 0) & (places < len(self.response))
        if own.any():
            out[own] = user_spread(self.response[places[own]], report.get("base"))
        return out

    def _places_of(self, side: int, asked: Sequence[Any]) -> Ints:
        known = self._places[side]
        found = (-1 if isinstance(entry, MatchboxRow) else known.get(entry, -1) for entry in asked)
        return np.array(list(found), np.int64)

    @cached_property
    def _places(self) -> tuple[dict[Any, int], dict[Any, int]]:
        users, items = (
            {key: place for place, key in enumerate(ids)} for ids in (self.user_ids, self.item_ids)
        )
        return users, items

    @cached_property
    def _covariances(self) -> Floats:
        return covariances(self.report, 2)
