"""What a rating is, given its score: a number with its user's noise, or one of ordered levels."""

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from matchlake.recommender.blocks import Floats
from matchlake.recommender.matchbox.draws import draw_key
from matchlake.recommender.matchbox.kernels import Matrix, Scored
from matchlake.recommender.matchbox.noise import Noise, draw_noise, draw_precisions
from matchlake.recommender.matchbox.ordinal import (
    GapPrior,
    draw_gaps,
    draw_latents,
    first_cuts,
    write_edges,
)
from matchlake.recommender.matchbox.params import MatchboxParams
from matchlake.recommender.matchbox.prior import Moments, draw_prior, first_prior
from matchlake.recommender.matchbox.ratings import USER, Ratings
from matchlake.recommender.matchbox.threads import on_threads

OWN, SHARED, LATENT = 3, 4, 5
"""What a key is for: a user's own noise or gaps, what users share, latent numbers."""

Parts = tuple[int, ...]
"""What names a half sweep: seed, chain, sweep and side."""

Arrays = dict[str, npt.NDArray[Any]]


class Response(Protocol):
    """How ratings depend on scores; keeps its part of a chain's state."""

    mean: float
    levels: Matrix | None
    values: Floats

    def draw(self, side: int, scored: Scored, key: Parts, threads: int) -> tuple[Floats, Floats]:
        """Targets of the ratings and weights of the users; the user side draws its own state."""

    def state(self) -> Arrays:
        """The state, copied."""


def response_for(ratings: Ratings, params: MatchboxParams) -> Response:
    """The response that `params` name."""
    return OrdinalResponse(ratings) if params.ordinal else NormalResponse(ratings)


class NormalResponse:
    """rating ~ N(mean + score, 1 / its user's precision)."""

    def __init__(self, ratings: Ratings) -> None:
        self.levels: Matrix | None = None
        self.mean = float(np.float32(ratings.values.mean(dtype=np.float64)))
        self.values = ratings.values - np.float32(self.mean)
        self.noise = Noise()
        self.precisions = np.ones(ratings.sizes[USER], np.float32)

    def draw(self, side: int, scored: Scored, key: Parts, threads: int) -> tuple[Floats, Floats]:
        """The centred ratings and the users' precisions, new ones on the user side."""
        if side == USER:
            prior = self.noise.shape, self.noise.rate, draw_key(*key, OWN)
            on_threads(
                lambda a, b: draw_precisions(scored, prior, a, b, self.precisions),
                scored.ratings.indptr,
                threads,
            )
            chance = np.random.default_rng(int(draw_key(*key, SHARED)))
            self.noise = draw_noise(self.precisions, self.noise, chance)
        return scored.values, self.precisions

    def state(self) -> Arrays:
        """`precisions` (users,) and `variance` (), that of a user without ratings."""
        return {
            "precisions": self.precisions.copy(),
            "variance": np.array(self.noise.variance),
        }


class OrdinalResponse:
    """rating = the level between whose edges, its user's own, N(score, 1) falls."""

    def __init__(self, ratings: Ratings) -> None:
        self.mean = 0.0
        self.levels: Matrix | None
        self.levels, codes = np.unique(ratings.values, return_inverse=True)
        self.values = codes.astype(np.float32)
        cuts = first_cuts(codes, len(self.levels))
        users, start = ratings.sizes[USER], np.log(np.diff(cuts))
        self.base = float(cuts[0])
        self.gaps = np.tile(start, (users, 1)).astype(np.float32)
        self.edges = np.empty((users, len(cuts) + 2))
        for user in range(users):
            write_edges(self.gaps, self.base, user, self.edges)
        self.prior = first_prior(len(start), 0)
        self.weights = np.ones(users, np.float32)

    def draw(self, side: int, scored: Scored, key: Parts, threads: int) -> tuple[Floats, Floats]:
        """Latent numbers and unit weights; new gaps on the user side."""
        indptr = scored.ratings.indptr
        if side == USER:
            chance = np.random.default_rng(int(draw_key(*key, SHARED)))
            self.prior = draw_prior(Moments.of(self.gaps, None), None, self.prior, chance)
            shared = self.prior.mean, self.prior.precision, self.base
            prior = GapPrior(*shared, draw_key(*key, OWN))
            on_threads(
                lambda a, b: draw_gaps(scored, prior, a, b, self.gaps, self.edges), indptr, threads
            )
        latents, latent_key = np.empty_like(scored.scores), draw_key(*key, LATENT)
        on_threads(
            lambda a, b: draw_latents(scored, self.edges, latent_key, a, b, latents),
            indptr,
            threads,
        )
        return latents, self.weights

    def state(self) -> Arrays:
        """`edges` (users, levels + 1), and `shared` (levels + 1,), those of the mean gaps."""
        shared = np.empty((1, self.edges.shape[1]))
        write_edges(self.prior.mean[None].astype(np.float32), self.base, 0, shared)
        return {"edges": self.edges.astype(np.float32), "shared": shared[0]}
