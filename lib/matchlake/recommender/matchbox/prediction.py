"""Predicts from rows in every sample: expected rating, spread, level probabilities."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from matchlake.engine.csr import Floats, Positions
from matchlake.engine.simd import compiled
from matchlake.recommender.matchbox.report import PosteriorReport
from matchlake.recommender.matchbox.sampler.kernels import Matrix
from matchlake.recommender.matchbox.sampler.ordinal import WIDEST
from matchlake.recommender.matchbox.sampler.random import normal_cdf

_AT_ONCE = 16384
"""The number of pairs scored at a time."""


class Prediction(NamedTuple):
    """Expected ratings and standard deviations (pairs,); probabilities (pairs, levels) or None."""

    scores: Floats
    rating_std: Floats
    level_probabilities: Floats | None


@dataclass(frozen=True)
class Predictor:
    """The data of predictions, in memory.

    `rows` (rows, samples, columns) has all sides' rows one after another, the users' first.
    `prior_share` (rows,) is the fraction of the prior's `covariances` (sides, samples, columns,
    columns) that widens a prediction. It is 0 for trained rows, since their samples differ, and 1
    for prior means (more if histories are unknown). For folded-in rows it is between 0 and 1.
    `response` (users, samples, width) is the variance of a user's rating, or the thresholds if
    there are `levels`.
    """

    mean: float
    rows: Floats
    prior_share: Floats
    covariances: Floats
    response: Floats
    levels: Matrix | None

    def predict(self, indices: Positions, clip: tuple[float, float] | None = None) -> Prediction:
        """Predicts for indices (pairs, sides) in `rows`; scores are within `clip`."""
        parts = [
            self._predict(indices[begin : begin + _AT_ONCE])
            for begin in range(0, len(indices), _AT_ONCE)
        ] or [self._predict(indices)]
        scores = np.concatenate([part.scores for part in parts])
        rating_std = np.concatenate([part.rating_std for part in parts])
        level_probabilities = [
            part.level_probabilities for part in parts if part.level_probabilities is not None
        ]
        if clip is not None:
            scores = np.clip(scores, np.float32(clip[0]), np.float32(clip[1]))
        return Prediction(
            scores, rating_std, np.concatenate(level_probabilities) if level_probabilities else None
        )

    def _predict(self, indices: Positions) -> Prediction:
        samples = self.rows.shape[1]
        scores = np.zeros((len(indices), samples), np.float32)
        spread = np.zeros((len(indices), samples), np.float32)
        score_pairs(indices, self.rows, scores)
        if self.prior_share[indices].any():
            spread_pairs(indices, self.rows, self.prior_share, self.covariances, spread)
        users = indices[:, 0]
        if self.levels is None:
            exact = scores.astype(np.float64)
            noise = self.response[users, :, 0] + spread
            variance = exact.var(axis=1) + noise.mean(axis=1, dtype=np.float64)
            expected = exact.mean(axis=1) + self.mean
            return Prediction(_single(expected), _single(np.sqrt(variance)), None)
        level_probabilities = np.zeros((len(indices), len(self.levels)))
        add_level_probabilities(scores, spread, users, self.response, level_probabilities)
        level_probabilities /= samples
        expected = level_probabilities @ self.levels
        variance = np.maximum(level_probabilities @ self.levels**2 - expected**2, 0.0)
        return Prediction(
            _single(expected), _single(np.sqrt(variance)), _single(level_probabilities)
        )


def covariances(report: PosteriorReport, sides: int) -> Floats:
    """Returns prior covariances (sides, samples, columns, columns)."""
    inverses = [np.linalg.inv(side.precisions) for side in report.sides[:sides]]
    return np.stack(inverses).astype(np.float32)


def user_responses(report: PosteriorReport, own: npt.NDArray[np.bool_], rows: Floats) -> Floats:
    """Returns a `Predictor`'s response: `rows` for users in `own`, else the shared response."""
    shared = report.shared
    if shared is None and report.variance is not None:
        shared = report.variance[:, None]
    out = np.tile(np.asarray(shared, np.float32), (len(own), 1, 1))
    if own.any():
        out[own] = user_spread(rows, report.base)
    return out


def user_spread(users: Floats, base: Matrix | None) -> Floats:
    """Returns a `Predictor`'s response from users' rows (users, samples, width).

    Precisions become variances; with a `base` (samples,), gaps become thresholds.
    """
    if base is None:
        return 1.0 / users
    thresholds = np.empty((*users.shape[:2], users.shape[2] + 1), np.float32)
    thresholds[:, :, 0] = base
    thresholds[:, :, 1:] = base[:, None] + np.cumsum(np.exp(np.minimum(users, WIDEST)), axis=2)
    return thresholds


def _single(values: npt.NDArray[np.float64]) -> Floats:
    return values.astype(np.float32)


@compiled
def score_pairs(indices: Positions, rows: Floats, out: Floats) -> None:
    """Computes scores (pairs, samples) without the mean: biases, and all dot products."""
    rank = rows.shape[2] - 1
    for pair in range(len(indices)):
        for sample in range(rows.shape[1]):
            score = np.float32(0.0)
            for side in range(indices.shape[1]):
                row = rows[indices[pair, side], sample]
                score += row[rank]
                for other in range(side):
                    left = rows[indices[pair, other], sample]
                    for k in range(rank):
                        score += left[k] * row[k]
            out[pair, sample] = score


@compiled
def spread_pairs(
    indices: Positions, rows: Floats, share: Floats, covariances: Floats, out: Floats
) -> None:
    """Computes variances of scores (pairs, samples); `share` has prior variance fractions.

    A row with covariance C adds d' C d, where d multiplies its factors and bias. If both rows of a
    pair have a covariance, the trace of the product of their factors' covariances is added.
    """
    columns = rows.shape[2]
    design = np.empty(columns, np.float32)
    for pair in range(len(indices)):
        for side in range(indices.shape[1]):
            own_share = share[indices[pair, side]]
            if own_share == np.float32(0.0):
                continue
            for sample in range(rows.shape[1]):
                design[:] = 0.0
                total = np.float32(0.0)
                for other in range(indices.shape[1]):
                    if other != side:
                        design += rows[indices[pair, other], sample]
                    theirs = share[indices[pair, other]]
                    if other < side and theirs != np.float32(0.0):
                        left, right = covariances[side, sample], covariances[other, sample]
                        total += theirs * np.sum(left[:-1, :-1] * right[:-1, :-1])
                design[columns - 1] = 1.0
                for a in range(columns):
                    for b in range(columns):
                        total += design[a] * covariances[side, sample, a, b] * design[b]
                out[pair, sample] += own_share * total


@compiled
def add_level_probabilities(
    scores: Floats, variance: Floats, users: Positions, thresholds: Floats, out: Matrix
) -> None:
    """Adds each sample's probability of every level to `out` (pairs, levels)."""
    last = out.shape[1] - 1
    for pair in range(len(scores)):
        for sample in range(scores.shape[1]):
            below, scale = 0.0, 1.0 / np.sqrt(1.0 + variance[pair, sample])
            for level in range(last):
                edge = thresholds[users[pair], sample, level]
                chance = normal_cdf((edge - scores[pair, sample]) * scale)
                out[pair, level] += chance - below
                below = chance
            out[pair, last] += 1.0 - below
