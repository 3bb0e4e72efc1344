"""The kept samples of a fit as arrays, and what they predict."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from matchlake.recommender.blocks import Floats
from matchlake.recommender.matchbox.draws import normal_cdf
from matchlake.recommender.matchbox.kernels import Matrix
from matchlake.recommender.matchbox.links import Features
from matchlake.recommender.matchbox.sampler import Sample
from matchlake.recommender.simd import compiled


@dataclass(frozen=True)
class SidePosterior:
    """One side's samples: `rows` (rows, samples, columns), the bias last, and its priors.

    `means` (samples, columns), `precisions` (samples, columns, columns), `links` (samples,
    features, columns), `scales` (samples,).
    """

    rows: Floats
    means: Matrix
    precisions: Matrix
    links: Matrix
    scales: Matrix

    def prior_rows(self, features: Features | None, count: int) -> Floats:
        """Prior means of `count` rows in every sample: what stands for rows without ratings."""
        samples, columns = self.means.shape
        out = np.empty((count, samples, columns), np.float32)
        for number in range(samples):
            out[:, number] = self.means[number]
            if features is not None:
                out[:, number] += features.times(self.links[number])
        return out


@dataclass(frozen=True)
class Posterior:
    """All kept samples; `levels` are None where a rating is a number.

    `response` stacks what the samples' responses hold: `precisions` (samples, users) and
    `variance` (samples,), or `edges` (samples, users, levels + 1) and `shared` (samples,
    levels + 1).
    """

    mean: float
    sides: tuple[SidePosterior, ...]
    response: dict[str, npt.NDArray[Any]]
    levels: Matrix | None = None

    @staticmethod
    def of(samples: Iterable[Sample], mean: float, levels: Matrix | None) -> "Posterior":
        """The samples side by side."""
        kept = list(samples)
        sides = tuple(_gather(kept, side) for side in range(len(kept[0].rows)))
        response = {
            name: np.stack([sample.response[name] for sample in kept]) for name in kept[0].response
        }
        return Posterior(mean, sides, response, levels)

    @property
    def samples(self) -> int:
        """How many samples there are."""
        return len(self.sides[0].means)

    def factors(self, side: int) -> tuple[Floats, Floats]:
        """Concatenated factors (rows, samples * rank) and mean biases (rows,) of one side.

        With two sides, `mean + bias + bias + dot product` is the samples' average score.
        """
        rows = self.sides[side].rows
        factors = rows[:, :, :-1] / np.float32(np.sqrt(self.samples))
        bias = rows[:, :, -1].mean(axis=1, dtype=np.float64).astype(np.float32)
        return np.ascontiguousarray(factors.reshape(len(rows), -1)), bias

    def scores(self, places: npt.NDArray[np.int32], rows: Sequence[Floats]) -> Floats:
        """Scores (pairs, samples), the mean included, of places (pairs, sides) in `rows`."""
        out = np.zeros((len(places), self.samples), np.float32)
        columns = rows[0].shape[2]
        partial = np.zeros((len(places), self.samples, columns - 1), np.float32)
        for side, matrix in enumerate(rows):
            add_side(places[:, side], matrix, partial, out)
        return out + np.float32(self.mean)

    def predict(self, places: npt.NDArray[np.int32]) -> Floats:
        """Expected rating of each of `places` (pairs, sides), all of them trained rows."""
        scores = self.scores(places, [side.rows for side in self.sides])
        if self.levels is None:
            averaged: Floats = scores.mean(axis=1, dtype=np.float64).astype(np.float32)
            return averaged
        return (self.probabilities(scores, places[:, 0]) @ self.levels).astype(np.float32)

    def probabilities(self, scores: Floats, users: npt.NDArray[np.int32]) -> Matrix:
        """Probability of each level (pairs, levels), given scores (pairs, samples)."""
        edges = self.response["edges"]
        out = np.zeros((len(scores), edges.shape[2] - 1))
        add_probabilities(scores, users, edges, out)
        out /= self.samples
        return out

    def variance(self, scores: Floats, users: npt.NDArray[np.int32]) -> Matrix:
        """Variance of a rating (pairs,): that of the samples' scores and the users' mean noise."""
        noise = (1.0 / self.response["precisions"]).mean(axis=0)
        total: Matrix = scores.var(axis=1, dtype=np.float64) + noise[users]
        return total


def _gather(samples: list[Sample], side: int) -> SidePosterior:
    priors = [sample.priors[side] for sample in samples]
    return SidePosterior(
        np.stack([sample.rows[side] for sample in samples], axis=1),
        np.stack([prior.mean for prior in priors]),
        np.stack([prior.precision for prior in priors]),
        np.stack([prior.links for prior in priors]),
        np.array([prior.scale for prior in priors]),
    )


@compiled
def add_side(places: npt.NDArray[np.int32], rows: Floats, partial: Floats, scores: Floats) -> None:
    """Adds one side to scores (pairs, samples); `partial` sums the factors of those before."""
    rank = partial.shape[2]
    for pair in range(len(places)):
        row = rows[places[pair]]
        for sample in range(scores.shape[1]):
            score = row[sample, rank]
            for k in range(rank):
                score += partial[pair, sample, k] * row[sample, k]
                partial[pair, sample, k] += row[sample, k]
            scores[pair, sample] += score


@compiled
def add_probabilities(
    scores: Floats, users: npt.NDArray[np.int32], edges: npt.NDArray[Any], out: Matrix
) -> None:
    """Adds each sample's probability of every level to `out` (pairs, levels)."""
    for pair in range(len(scores)):
        for sample in range(scores.shape[1]):
            below = 0.0
            for level in range(out.shape[1]):
                chance = normal_cdf(edges[sample, users[pair], level + 1] - scores[pair, sample])
                out[pair, level] += chance - below
                below = chance
