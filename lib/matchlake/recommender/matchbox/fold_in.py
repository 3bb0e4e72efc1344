"""Fold-in: computes conditional means of new or changed users and items in each sample."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from matchlake.engine.csr import Floats
from matchlake.engine.simd import LANES
from matchlake.errors import InputError
from matchlake.recommender.matchbox.posterior import Posterior, side_of
from matchlake.recommender.matchbox.report import PosteriorReport
from matchlake.recommender.matchbox.sampler.gibbs import Side, condition
from matchlake.recommender.matchbox.sampler.history_features import dense_rows, history_of, hstack
from matchlake.recommender.matchbox.sampler.kernels import (
    Conditional,
    Matrix,
    Scored,
    View,
    draw_rows,
    score_rows,
    spread_rows,
)
from matchlake.recommender.matchbox.sampler.link_matrix import Features
from matchlake.recommender.matchbox.sampler.ordinal import FAR, edges_of, mean_latents
from matchlake.recommender.matchbox.sampler.prior import Prior
from matchlake.recommender.matchbox.sampler.random import draw_key
from matchlake.recommender.matchbox.sampler.ratings import Ratings, sort_for
from matchlake.recommender.sides import ITEM, USER

_ROUNDS = 30
"""The number of alternations between latent means and rows, for rating levels."""


@dataclass(frozen=True)
class NewRatings:
    """Ratings of `count` rows to fold in; `others` are trained rows of the other side."""

    rows: npt.NDArray[np.int32]
    others: npt.NDArray[np.int32]
    values: Floats
    count: int


def posterior_of(
    report: PosteriorReport, side: int, others: Floats, users: Floats | None
) -> Posterior:
    """Returns the posterior for a fold-in of `side`: trained rows of the other side only.

    `others` has shape (rows, samples, columns). `users` (users, samples, width) is the users' part
    of the likelihood, which items need.
    """
    none = np.zeros((0, *others.shape[1:]), np.float32)
    sides = [side_of(report.sides[n], none if n == side else others) for n in (USER, ITEM)]
    likelihood = report.likelihood
    if users is not None:
        likelihood["users"] = np.ascontiguousarray(users.transpose(1, 0, 2))
    return Posterior(report.mean, tuple(sides), likelihood, report.rating_levels)


def features_of(
    report: PosteriorReport, side: int, new: NewRatings, vectors: Floats | None
) -> Features | None:
    """Returns the features of new rows, as in the fit: encoded features, then history.

    Here `new.others` are indices of the fit. Missing vectors count as zeros.
    """
    seen = report.sides[1 - side].seen
    width = report.sides[side].links.shape[1] - len(seen)
    encoded = np.zeros((new.count, width), np.float32) if vectors is None else vectors
    rows = dense_rows(encoded) if width else None
    history = history_of(new.rows, new.others, new.count, seen) if len(seen) else None
    rows = hstack(rows, history)
    return None if rows is None else Features(rows)


class Folded(NamedTuple):
    """Rows (count, samples, columns), and the remaining fraction of the prior variance (count,).

    The fraction is at least 1 without ratings, and falls towards 0 with more ratings.
    """

    rows: Floats
    prior_share: Floats


def fold_in(posterior: Posterior, side: int, new: NewRatings, features: Features | None) -> Folded:
    """Computes rows of users or items from their ratings and features.

    In every sample, q are rows of the other side and m is the prior mean of the row. beta is the
    precision of the rating's user, for a new user the mean one. Then

        A = precision + beta sum [q, 1][q, 1]'
        row = A^-1 (precision m + beta sum (rating - mean - c)[q, 1])

    is the mean of a row's draw, and A^-1 its covariance. With M = sum [q, 1][q, 1]' over all rows
    of the other side, `prior_share` is tr(A^-1 M) / tr(precision^-1 M), averaged over the samples.
    For rating levels, the latent numbers and the row are set to their means in turn, with the
    shared thresholds. The `baseline_shift` replaces the history part of the prior mean of a row
    without ratings. Raises InputError for invalid ratings.
    """
    require_valid(new.values, posterior.levels)
    columns = posterior.sides[side].rows.shape[2]
    problem = _FoldInProblem(posterior, side, new, features)
    out = np.empty((new.count, posterior.samples, columns), np.float32)
    share = np.zeros(new.count, np.float32)
    for sample in range(posterior.samples):
        rows, left = problem.rows(sample)
        out[:, sample] = rows[:, :columns]
        share += left / np.float32(posterior.samples)
    share[problem.baseline_shift] *= np.float32(posterior.sides[side].cold_share)
    return Folded(out, share)


_SHOWN = 5
"""The maximum number of invalid ratings in an error message."""


def requirement(levels: Iterable[float] | None) -> str:
    """Returns the rule for a rating, for error messages."""
    if levels is None:
        return "a finite number"
    return f"one of the levels of the fit, {', '.join(f'{float(level):g}' for level in levels)}"


def require_valid(values: Floats, levels: Matrix | None) -> None:
    """Raises InputError, which shows some of `values`, if any is invalid."""
    fit = np.isfinite(values) if levels is None else np.isin(values, levels.astype(np.float32))
    if not fit.all():
        shown = ", ".join(f"{value:g}" for value in values[~fit][:_SHOWN])
        raise InputError(
            f"{np.sum(~fit)} of {len(values)} rating(s) cannot be folded in, among them {shown}: "
            f"a rating must be {requirement(levels)}. Remove or correct them."
        )


class _FoldInProblem:
    """The new ratings in the form for kernels; the trained rows are set sample by sample."""

    def __init__(
        self, posterior: Posterior, side: int, new: NewRatings, features: Features | None
    ) -> None:
        self._posterior, self._number = posterior, side
        trained = posterior.sides[1 - side].rows
        columns = trained.shape[2]
        sizes = (new.count, len(trained)) if side == USER else (len(trained), new.count)
        pair = (new.rows, new.others) if side == USER else (new.others, new.rows)
        self._codes = posterior.levels is not None
        values = new.values - np.float32(posterior.mean)
        if posterior.levels is not None:
            levels = posterior.levels.astype(np.float32)
            values = np.searchsorted(levels, new.values).astype(np.float32)
        ratings = Ratings(np.stack(pair, axis=1).astype(np.int32), values, sizes)
        seen = sort_for(ratings, side)
        stack = np.zeros((sum(sizes), -(-columns // LANES) * LANES), np.float32)
        parts = np.split(stack, [sizes[USER]])
        self._mine, self._other = parts[side], parts[1 - side]
        names = np.arange(len(stack))
        ids = np.arange(new.count)
        view = View(seen.indptr, seen.others, seen.owners, ids, names, stack.reshape(-1), columns)
        # an additional feature: 1 for rows without ratings, which have no history features
        self.baseline_shift = np.diff(seen.indptr) == 0
        without = dense_rows(self.baseline_shift.astype(np.float32)[:, None])
        rows = hstack(None if features is None else features.rows, without) or without
        self._side = Side(side, seen, Features(rows), None, view, self._mine)

    def rows(self, sample: int) -> tuple[Floats, Floats]:
        """Returns the rows of one sample, and the remaining fraction of the prior variance."""
        side = self._posterior.sides[self._number]
        trained = self._posterior.sides[1 - self._number].rows
        self._other[:, : trained.shape[2]] = trained[:, sample]
        links, scales = (
            np.vstack([side.links[sample], side.baseline_shift[sample]]),
            side.scales[sample],
        )
        prior = Prior(side.means[sample], side.precisions[sample], links, scales)
        self._mine[:] = 0.0
        weights = self._weights(sample)
        if not self._codes:
            conditional = self._solve(prior, (self._side.sorted.values, weights))
            return self._mine, self._share(sample, prior, conditional)
        latents = np.empty_like(self._side.sorted.values)
        for _ in range(_ROUNDS):
            scores = np.empty_like(latents)
            view, count = self._side.view, len(self._mine)
            score_rows(view, self._mine, 0, count, scores)
            scored = Scored(view, scores, self._side.sorted.values)
            mean_latents(scored, self._edges(sample), 0, count, latents)
            conditional = self._solve(prior, (latents, weights))
        return self._mine, self._share(sample, prior, conditional)

    def _solve(self, prior: Prior, response: tuple[Floats, Floats]) -> Conditional:
        conditional = condition(self._side, prior, response, draw_key(0), noise=0.0)
        draw_rows(self._side.view, conditional, 0, len(self._mine), self._mine)
        return conditional

    def _share(self, sample: int, prior: Prior, conditional: Conditional) -> Floats:
        columns = self._side.view.columns
        factors = self._posterior.sides[1 - self._number].design_roots[sample]
        roots = np.zeros((columns, self._mine.shape[1]), np.float32)
        roots[:, :columns] = factors
        left = np.empty(len(self._mine), np.float32)
        spread_rows(self._side.view, conditional, roots, 0, len(left), left)
        return left / np.float32(np.sum(factors.T * np.linalg.solve(prior.precision, factors.T)))

    def _users(self) -> int:
        return len(self._mine) if self._number == USER else len(self._other)

    def _weights(self, sample: int) -> Floats:
        response = self._posterior.response
        if self._codes:
            return np.ones(self._users(), np.float32)
        if self._number == ITEM:
            return np.ascontiguousarray(response["users"][sample][:, 0])
        return np.full(self._users(), 1.0 / response["variance"][sample], np.float32)

    def _edges(self, sample: int) -> Matrix:
        response = self._posterior.response
        if self._number == ITEM:
            return edges_of(response["users"][sample], float(response["base"][sample]))
        inner = response["shared"][sample]
        edges = np.concatenate([[-FAR], inner, [FAR]])
        return np.tile(edges, (self._users(), 1))
