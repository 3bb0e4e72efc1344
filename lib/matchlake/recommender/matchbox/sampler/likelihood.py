"""The likelihood of a rating, given its score: a number with noise, or one of ordered levels.

A likelihood holds the parameters that all users share. The parameters of each user are a row of
`users`, shape (users, width). `users` is an argument, so a block holds only its own users.
"""

from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from matchlake.engine.csr import Floats
from matchlake.engine.threads import on_threads
from matchlake.recommender.matchbox.params import MatchboxParams
from matchlake.recommender.matchbox.sampler.kernels import Matrix, Scored
from matchlake.recommender.matchbox.sampler.noise import Noise, draw_noise, draw_precisions
from matchlake.recommender.matchbox.sampler.ordinal import (
    FIRST_SPREAD,
    GapPrior,
    draw_gaps,
    draw_latents,
    edges_of,
    first_cuts,
    first_means,
    log_likelihood_of,
)
from matchlake.recommender.matchbox.sampler.prior import Moments, Prior, draw_prior, first_prior
from matchlake.recommender.matchbox.sampler.random import draw_key

OWN, SHARED, LATENT = 3, 4, 5
"""Purposes of a random key: parameters of a user, shared parameters, latent numbers."""

Parts = tuple[int, ...]
"""The key of a half sweep: seed, chain, sweep and side."""

Arrays = dict[str, npt.NDArray[Any]]


class Likelihood(Protocol):
    """How ratings depend on scores."""

    @property
    def mean(self) -> float:
        """The number that is added to scores."""

    @property
    def spread(self) -> float:
        """An estimate of the standard deviation of the targets."""

    @property
    def levels(self) -> Matrix | None:
        """The rating levels, ascending; None for ratings that are numbers."""

    def first_users(self, count: int) -> Floats:
        """The parameters of the users before the first Gibbs sweep."""

    def first_targets(self, values: Floats) -> Floats:
        """The targets of the ratings before the first sweep."""

    def draw_users(self, scored: Scored, users: Floats, key: Parts, threads: int) -> None:
        """Draws the parameters of the users in place, given all their ratings."""

    def targets(
        self, scored: Scored, users: Floats, key: Parts, threads: int
    ) -> tuple[Floats, Floats]:
        """One target per rating, and one weight per user.

        For numeric ratings the targets are the ratings themselves.
        """

    def error(self, scored: Scored, users: Floats) -> float:
        """The sum of the errors of the ratings."""

    def sums(self, users: Floats) -> Arrays:
        """The sums over users that the draw of the shared parameters needs."""

    def drawn(self, sums: Arrays, key: Parts) -> "Likelihood":
        """The likelihood with newly drawn shared parameters."""

    def facts(self, error: float, sums: Arrays) -> dict[str, float]:
        """`error` and `noise` of a sweep, for the trace; the argument is the mean error."""

    def state(self, users: Floats) -> Arrays:
        """The arrays of a sample."""


def response_for(values: Floats, params: MatchboxParams) -> tuple[Likelihood, Floats]:
    """The likelihood of ratings `values`, and its values: centred ratings or codes of levels."""
    if not params.ordinal:
        mean = float(np.float32(values.mean(dtype=np.float64)))
        ends = float(values.min()), float(values.max())
        response = gaussian(mean, *ends, own=params.noise_variance == "per_user")
        return response, values - np.float32(mean)
    levels, codes, counts = np.unique(values, return_inverse=True, return_counts=True)
    return ordinal_probit(levels.astype(np.float64), counts), codes.astype(np.float32)


def gaussian(mean: float, minimum: float, maximum: float, *, own: bool = True) -> "Gaussian":
    """The initial likelihood of numeric ratings with this mean, minimum and maximum."""
    return Gaussian(mean, (maximum - minimum) / 4, own=own)


@dataclass(frozen=True)
class Gaussian:
    """rating ~ N(mean + score, 1 / precision of the user); a user's row is the precision.

    If `own` is false, all users share one precision, with the prior Gamma(1, rate 1).
    """

    mean: float
    spread: float
    noise: Noise = field(default_factory=Noise)
    own: bool = True
    levels: None = None

    def first_users(self, count: int) -> Floats:
        """Precision 1."""
        return np.ones((count, 1), np.float32)

    def first_targets(self, values: Floats) -> Floats:
        """The centred ratings."""
        return values

    def draw_users(self, scored: Scored, users: Floats, key: Parts, threads: int) -> None:
        """Draws the noise precisions of the users, in place."""
        if not self.own:
            chance = np.random.default_rng(int(draw_key(*key, OWN)))
            rate = 1.0 + self.error(scored, users) / 2
            users[:] = chance.gamma(1.0 + len(scored.values) / 2) / rate
            return
        prior = self.noise.shape, self.noise.rate, draw_key(*key, OWN)
        on_threads(
            lambda a, b: draw_precisions(scored, prior, a, b, users),
            scored.ratings.indptr,
            threads,
        )

    def targets(
        self, scored: Scored, users: Floats, key: Parts, threads: int
    ) -> tuple[Floats, Floats]:
        """The centred ratings and the precisions."""
        del key, threads
        return scored.values, users[:, 0].copy()

    def error(self, scored: Scored, users: Floats) -> float:
        """The sum of the squared errors."""
        del users
        return float(np.sum((scored.values - scored.scores) ** 2, dtype=np.float64))

    def sums(self, users: Floats) -> Arrays:
        """Count, sum and sum of logarithms of the precisions; sum of the standard deviations."""
        exact = users[:, 0].astype(np.float64)
        statistics = len(exact), exact.sum(), np.log(exact).sum(), (exact**-0.5).sum()
        return {"users": np.array(statistics)}

    def drawn(self, sums: Arrays, key: Parts) -> "Gaussian":
        """The likelihood with a newly drawn prior of the precisions."""
        if not self.own:
            return self
        chance = np.random.default_rng(int(draw_key(*key, SHARED)))
        count, total, logs, _ = sums["users"]
        return replace(self, noise=draw_noise((count, total, logs), self.noise, chance))

    def facts(self, error: float, sums: Arrays) -> dict[str, float]:
        """Root mean squared error, and the users' mean standard deviation."""
        count, _, _, deviations = sums["users"]
        return {"error": error**0.5, "noise": float(deviations / count)}

    def state(self, users: Floats) -> Arrays:
        """`users` (users, 1), and `variance` (), the noise variance of a user without ratings."""
        variance = self.noise.variance if self.own else 1.0 / float(users[0, 0])
        return {"users": users.copy(), "variance": np.array(variance)}


def ordinal_probit(levels: Matrix, counts: npt.NDArray[Any]) -> "OrdinalProbit":
    """The initial likelihood of rating levels with these counts."""
    checkpoints = first_cuts(counts)
    start = np.log(np.diff(checkpoints))
    prior = replace(first_prior(len(start)), mean=start)
    return OrdinalProbit(levels, first_means(counts), float(checkpoints[0]), prior)


@dataclass(frozen=True)
class OrdinalProbit:
    """A latent number ~ N(score, 1); the rating is the level between the thresholds around it.

    Each user has their own thresholds. `base` is the first threshold, which all users share. A
    user's row has the logarithms of the gaps between adjacent thresholds. `first` (levels,) has the
    initial latent number of each level.
    """

    levels: Matrix
    first: Matrix
    base: float
    prior: Prior
    mean: float = 0.0
    spread: float = FIRST_SPREAD

    def first_users(self, count: int) -> Floats:
        """The logarithmic gaps at their prior mean."""
        return np.tile(self.prior.mean, (count, 1)).astype(np.float32)

    def first_targets(self, values: Floats) -> Floats:
        """The initial latent number of each rating's level."""
        return self.first[values.astype(np.int64)].astype(np.float32)

    def draw_users(self, scored: Scored, users: Floats, key: Parts, threads: int) -> None:
        """Draws the gaps of the users, in place."""
        prior = GapPrior(self.prior.mean, self.prior.precision, draw_key(*key, OWN))
        edges = edges_of(users, self.base)
        on_threads(
            lambda a, b: draw_gaps(scored, prior, a, b, users, edges),
            scored.ratings.indptr,
            threads,
        )

    def targets(
        self, scored: Scored, users: Floats, key: Parts, threads: int
    ) -> tuple[Floats, Floats]:
        """Newly drawn latent numbers, and weights of 1."""
        edges, latents = edges_of(users, self.base), np.empty_like(scored.scores)
        latent_key = draw_key(*key, LATENT)
        on_threads(
            lambda a, b: draw_latents(scored, edges, latent_key, a, b, latents),
            scored.ratings.indptr,
            threads,
        )
        return latents, np.ones(len(users), np.float32)

    def error(self, scored: Scored, users: Floats) -> float:
        """The sum of the negative logarithms of the level probabilities."""
        return -log_likelihood_of(scored, edges_of(users, self.base))

    def sums(self, users: Floats) -> Arrays:
        """Count, sum and sum of products of the users' rows; total width of the inner levels."""
        moments = Moments.of(users, None)
        width = (edges_of(users, self.base)[:, -2] - self.base).sum()
        statistics = np.array([moments.rows, width])
        return {"users": statistics, "total": moments.total, "square": moments.square}

    def drawn(self, sums: Arrays, key: Parts) -> "OrdinalProbit":
        """The likelihood with a newly drawn prior of the gaps."""
        if not len(sums["total"]):
            return self
        chance = np.random.default_rng(int(draw_key(*key, SHARED)))
        none = np.zeros((0, len(sums["total"])))
        moments = Moments(int(sums["users"][0]), sums["total"], sums["square"], none)
        return replace(self, prior=draw_prior(moments, None, self.prior, chance))

    def facts(self, error: float, sums: Arrays) -> dict[str, float]:
        """Mean negative log probability of the levels, and mean width of the inner levels."""
        count, width = sums["users"]
        return {"error": error, "noise": float(width / count)}

    def state(self, users: Floats) -> Arrays:
        """`users` (users, gaps), `base` (), and `shared` (levels - 1,).

        `shared` has the thresholds at the mean gaps.
        """
        shared = edges_of(self.prior.mean[None], self.base)[0, 1:-1]
        return {"users": users.copy(), "shared": shared, "base": np.array(self.base)}
