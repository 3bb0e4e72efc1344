"""The Gibbs sampler in one task: sweeps over the sides, and samples."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numba
import numpy as np

from matchlake.engine.counter_rng import normals
from matchlake.engine.csr import Csr, Floats, Ints
from matchlake.engine.simd import LANES
from matchlake.engine.threads import on_threads
from matchlake.recommender.matchbox.params import MatchboxParams
from matchlake.recommender.matchbox.sampler.kernels import (
    Conditional,
    Scored,
    View,
    draw_rows,
    score_rows,
)
from matchlake.recommender.matchbox.sampler.likelihood import Likelihood, response_for
from matchlake.recommender.matchbox.sampler.link_matrix import Features, LinkSolver, Source
from matchlake.recommender.matchbox.sampler.prior import Moments, Prior, draw_prior, first_prior
from matchlake.recommender.matchbox.sampler.random import draw_key
from matchlake.recommender.matchbox.sampler.ratings import (
    DAY,
    Ratings,
    Sorted,
    sort_for,
    stack_offsets,
)
from matchlake.recommender.sides import USER

PRIOR, ROWS = 1, 2
"""The purposes of keys, as their last number; `likelihood` has further purposes."""

FIRST_SHARE = 0.5
"""Standard deviation of the first products of factors, in units of the likelihood's spread."""

DAMPING = 5.0
"""The number of additional targets of 0 in an initial bias."""


@dataclass(frozen=True)
class Side:
    """The ratings and features of one side, and its rows in the stack of all sides."""

    number: int
    sorted: Sorted
    features: Features | None
    solver: LinkSolver | None
    view: View
    rows: Floats

    def scored(self, response: Likelihood, threads: int) -> Scored:
        """Returns all ratings, with their current scores if the likelihood needs them."""
        if self.number != USER and response.levels is None:
            return Scored(self.view, np.empty(0, np.float32), self.sorted.values)
        scores = np.empty(len(self.sorted.values), np.float32)
        on_threads(
            lambda a, b: score_rows(self.view, self.rows, a, b, scores), self.view.indptr, threads
        )
        return Scored(self.view, scores, self.sorted.values)

    def draw(self, conditional: Conditional, threads: int) -> None:
        """Draws the side's rows in place."""
        on_threads(
            lambda a, b: draw_rows(self.view, conditional, a, b, self.rows),
            self.view.indptr,
            threads,
        )


@dataclass
class State:
    """The state of a chain: sweeps done and the prior of each side; rows are in the sides."""

    sweep: int
    priors: list[Prior] = field(default_factory=list)


@dataclass(frozen=True)
class Sample:
    """One posterior sample: rows (rows, columns) and prior of each side, and the likelihood."""

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
        self.threads = threads_of(params)
        self.trace: list[dict[str, float]] = []
        self.response, values = response_for(ratings.values, params)
        self.users = self.response.first_users(ratings.sizes[USER])
        self.sides = make_sides(
            replace(ratings, values=values), features, self.response, params, chain
        )
        priors = [first_prior(params.columns, side.solver) for side in self.sides]
        self.state = State(0, priors)

    def samples(self) -> Iterator[Sample]:
        """Yields the kept samples."""
        for number in range(self.params.samples):
            for _ in range(self.params.thinning + (0 if number else self.params.burn_in)):
                self.sweep()
            yield self.sample()

    def sample(self) -> Sample:
        """Returns a copy of the state."""
        columns = self.params.columns
        rows = tuple(side.rows[:, :columns].copy() for side in self.sides)
        return Sample(rows, tuple(self.state.priors), self.response.state(self.users))

    def sweep(self) -> None:
        """Draws the prior and the rows of each side once, and the likelihood."""
        self.state.sweep += 1
        for side in self.sides:
            self.draw_side(side)
        sources = [side.features.sources if side.features else () for side in self.sides]
        self.trace[-1] |= scale_facts(sources, self.state.priors)

    def draw_side(self, side: Side) -> None:
        """Draws the prior of one side, then the noise, then the factor rows of the side."""
        prior, parts = self._draw_prior(side), self._parts(side)
        scored = side.scored(self.response, self.threads)
        if side.number == USER:
            self.response.draw_users(scored, self.users, parts, self.threads)
            sums = self.response.sums(self.users)
            error = self.response.error(scored, self.users) / len(scored.values)
            self.response = self.response.drawn(sums, parts)
            self.trace.append(self.response.facts(error, sums))
        targets = self.response.targets(scored, self.users, parts, self.threads)
        side.draw(condition(side, prior, targets, draw_key(*parts, ROWS)), self.threads)

    def _draw_prior(self, side: Side) -> Prior:
        moments = Moments.of(side.rows[:, : self.params.columns], side.features)
        chance = np.random.default_rng(int(draw_key(*self._parts(side), PRIOR)))
        prior = draw_prior(moments, side.solver, self.state.priors[side.number], chance)
        self.state.priors[side.number] = prior
        return prior

    def _parts(self, side: Side) -> tuple[int, int, int, int]:
        return self.params.seed, self._chain, self.state.sweep, side.number


def scale_facts(sources: Sequence[tuple[Source, ...]], priors: Sequence[Prior]) -> dict[str, float]:
    """Returns the scale of each source's links, for the trace."""
    facts: dict[str, float] = {}
    for name, parts, prior in zip(("user", "item"), sources, priors, strict=False):
        scales = zip(parts, map(float, prior.scales), strict=True)
        facts |= {f"{name}_link_scale_{source.name}": scale for source, scale in scales}
    return facts


def threads_of(params: MatchboxParams) -> int:
    """Returns the number of threads of a fit in one task."""
    return params.threads or int(numba.config.NUMBA_NUM_THREADS)


def stored_columns(params: MatchboxParams) -> int:
    """Returns the columns of a stored row: those of the model, then padding."""
    return -(-params.columns // LANES) * LANES


def first_rows(
    chain_and_side: tuple[int, int],
    ids: Ints,
    seen: Csr | Sorted,
    response: Likelihood,
    params: MatchboxParams,
) -> Floats:
    """Returns the initial rows of a side in a chain: normal factors, and damped means as biases.

    Rows that start near zero and have few ratings need hundreds of sweeps to move away. Days start
    without a bias, since their users have one.
    """
    chain, side = chain_and_side
    rows = np.zeros((len(ids), stored_columns(params)), np.float32)
    drawn = normals(params.seed, 1000 * chain + side, ids, params.rank)
    rows[:, : params.rank] = np.sqrt(FIRST_SHARE * response.spread / np.sqrt(params.rank)) * drawn
    if side != DAY:
        counts = np.diff(seen.indptr)
        owners = np.repeat(np.arange(len(ids)), counts)
        totals = np.bincount(owners, response.first_targets(seen.values), len(ids))
        rows[:, params.rank] = totals / (counts + DAMPING)
    return rows


def make_sides(
    ratings: Ratings,
    features: tuple[Features | None, ...],
    response: Likelihood,
    params: MatchboxParams,
    chain: int,
) -> list[Side]:
    """Returns the sides in their initial state."""
    offsets = stack_offsets(ratings.sizes)
    stack = np.zeros((int(offsets[-1]), stored_columns(params)), np.float32)
    names = np.concatenate([np.arange(size) for size in ratings.sizes])
    sides = []
    for number, size in enumerate(ratings.sizes):
        rows = stack[offsets[number] : offsets[number + 1]]
        ids = np.arange(size)
        seen, source = sort_for(ratings, number), features[number]
        rows[:] = first_rows((chain, number), ids, seen, response, params)
        parts = seen.indptr, seen.others, seen.owners, ids, names, stack.reshape(-1)
        view = View(*parts, params.columns)
        solver = None if source is None else source.solver
        sides.append(Side(number, seen, source, solver, view, rows))
    return sides


def condition(
    side: Side, prior: Prior, response: tuple[Floats, Floats], key: np.uint64, noise: float = 1.0
) -> Conditional:
    """Returns the inputs of the draw of a side's rows."""
    columns, width = side.view.columns, side.rows.shape[1]
    precision = np.zeros((width, width), np.float32)
    precision[:columns, :columns] = prior.precision
    pull = np.zeros(side.rows.shape, np.float32)
    pull[:, :columns] = prior.means(side.features, len(pull)) @ prior.precision
    return Conditional(precision.reshape(-1), pull, *response, key, noise)
