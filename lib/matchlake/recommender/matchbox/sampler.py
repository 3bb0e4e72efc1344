"""The Gibbs sampler in one task: sweeps over the sides, and what each kept sweep leaves."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numba
import numpy as np

from matchlake.recommender.blocks import Floats
from matchlake.recommender.matchbox.draws import draw_key
from matchlake.recommender.matchbox.kernels import Conditional, Scored, View, draw_rows, score_rows
from matchlake.recommender.matchbox.links import Features, Spectrum
from matchlake.recommender.matchbox.params import MatchboxParams
from matchlake.recommender.matchbox.prior import Moments, Prior, draw_prior, first_prior
from matchlake.recommender.matchbox.ratings import Ratings, Sorted, sort_for, stack_offsets
from matchlake.recommender.matchbox.response import Response, response_for
from matchlake.recommender.matchbox.threads import on_threads
from matchlake.recommender.randoms import normals
from matchlake.recommender.simd import LANES

PRIOR, ROWS = 1, 2
"""What a key is for, its last number; `response` has further ones."""

FIRST_SPREAD = 0.1
"""Standard deviation of the first rows."""


@dataclass(frozen=True)
class Side:
    """One side's ratings, features and place in the stack of all sides' rows."""

    number: int
    sorted: Sorted
    features: Features | None
    spectrum: Spectrum | None
    view: View
    rows: Floats

    @property
    def feature_count(self) -> int:
        """Features of a row."""
        return 0 if self.features is None else self.features.count


@dataclass
class State:
    """Where a chain stands: sweeps done, each side's prior; rows lie in the sides."""

    sweep: int
    priors: list[Prior] = field(default_factory=list)


@dataclass(frozen=True)
class Sample:
    """One posterior sample: each side's rows (rows, columns) and prior, and the response's."""

    rows: tuple[Floats, ...]
    priors: tuple[Prior, ...]
    response: dict[str, np.ndarray]


class Gibbs:
    """A chain over `ratings`, with feature rows for some of the sides."""

    def __init__(
        self,
        ratings: Ratings,
        features: tuple[Features | None, ...],
        params: MatchboxParams,
        chain: int = 0,
    ) -> None:
        self.params, self._chain = params, chain
        self.threads = params.threads or numba.config.NUMBA_NUM_THREADS
        self.response: Response = response_for(ratings, params)
        targets = replace(ratings, values=self.response.values)
        self.sides = make_sides(targets, features, params, chain)
        columns = params.columns
        self.state = State(0, [first_prior(columns, side.feature_count) for side in self.sides])

    def samples(self) -> Iterator[Sample]:
        """The kept samples, one after another."""
        for kept in range(self.params.samples):
            for _ in range(self.params.thinning + (0 if kept else self.params.burn_in)):
                self.sweep()
            yield self.sample()

    def sample(self) -> Sample:
        """The state as it is, copied."""
        columns = self.params.columns
        rows = tuple(side.rows[:, :columns].copy() for side in self.sides)
        return Sample(rows, tuple(self.state.priors), self.response.state())

    def sweep(self) -> None:
        """Draws every side's prior and rows once, and what belongs to the response."""
        self.state.sweep += 1
        for side in self.sides:
            self.draw_side(side)

    def draw_side(self, side: Side) -> None:
        """One side's prior, then its response (user noise, latent numbers), then its rows."""
        prior = self._draw_prior(side)
        scores = np.empty(len(side.sorted.values), np.float32)
        on_threads(
            lambda a, b: score_rows(side.view, side.rows, a, b, scores),
            side.sorted.indptr,
            self.threads,
        )
        scored = Scored(side.view, scores, side.sorted.values)
        targets, weights = self.response.draw(side.number, scored, self._parts(side), self.threads)
        given = condition(side, prior, (targets, weights), draw_key(*self._parts(side), ROWS))
        on_threads(
            lambda a, b: draw_rows(side.view, given, a, b, side.rows),
            side.sorted.indptr,
            self.threads,
        )

    def _draw_prior(self, side: Side) -> Prior:
        moments = Moments.of(side.rows[:, : self.params.columns], side.features)
        chance = np.random.default_rng(int(draw_key(*self._parts(side), PRIOR)))
        prior = draw_prior(moments, side.spectrum, self.state.priors[side.number], chance)
        self.state.priors[side.number] = prior
        return prior

    def _parts(self, side: Side) -> tuple[int, int, int, int]:
        return self.params.seed, self._chain, self.state.sweep, side.number


def make_sides(
    ratings: Ratings,
    features: tuple[Features | None, ...],
    params: MatchboxParams,
    chain: int,
) -> list[Side]:
    """The sides in their first state: small normal factors, no bias."""
    offsets = stack_offsets(ratings.sizes)
    width = -(-params.columns // LANES) * LANES
    stack = np.zeros((int(offsets[-1]), width), np.float32)
    names = np.concatenate([np.arange(size) for size in ratings.sizes])
    sides = []
    for number, size in enumerate(ratings.sizes):
        rows = stack[offsets[number] : offsets[number + 1]]
        ids, stream = np.arange(size), 1000 * chain + number
        rows[:, : params.rank] = FIRST_SPREAD * normals(params.seed, stream, ids, params.rank)
        seen, given = sort_for(ratings, number), features[number]
        parts = seen.indptr, seen.others, seen.owners, ids, names, stack.reshape(-1)
        view = View(*parts, params.columns)
        spectrum = Spectrum.of(given.gram(), given.sums()) if given is not None else None
        sides.append(Side(number, seen, given, spectrum, view, rows))
    return sides


def condition(
    side: Side, prior: Prior, response: tuple[Floats, Floats], key: np.uint64, noise: float = 1.0
) -> Conditional:
    """What the draw of a side's rows is conditioned on."""
    columns, width = side.view.columns, side.rows.shape[1]
    precision = np.zeros((width, width), np.float32)
    precision[:columns, :columns] = prior.precision
    pull = np.zeros(side.rows.shape, np.float32)
    pull[:, :columns] = prior.means(side.features, len(pull)) @ prior.precision
    return Conditional(precision.reshape(-1), pull, *response, key, noise)
