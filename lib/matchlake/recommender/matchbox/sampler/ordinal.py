"""Ratings as levels: a latent normal number between thresholds of the user.

The first threshold is the same for all users, since a user's bias shifts the scores. Each further
one is `exp(gap)` above the previous one. A user's gaps are a row with a normal prior.
"""

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from matchlake.engine.csr import Floats
from matchlake.engine.simd import compiled
from matchlake.recommender.matchbox.sampler.kernels import Flat, Matrix, Scored
from matchlake.recommender.matchbox.sampler.random import (
    between,
    normal,
    normal_quantile,
    placed,
    truncated_normal,
    uniform,
)

FAR = 1e9
"""Stands for infinity below the first and above the last level."""

WIDEST = 15.0
"""A logarithmic gap beyond this counts as this."""

FIRST_SPREAD = 1.3
"""Standard deviation of the latent numbers for the initial thresholds."""

_LEAST = 1e-300
_NARROW = 1e-12


def edges_of(gaps: npt.NDArray[np.floating[Any]], base: float) -> Matrix:
    """Edges of all levels of each user: (users, levels + 1)."""
    edges = np.empty((len(gaps), gaps.shape[1] + 3))
    edges[:, 0], edges[:, 1], edges[:, -1] = -FAR, base, FAR
    edges[:, 2:-1] = base + np.cumsum(np.exp(np.minimum(gaps.astype(np.float64), WIDEST)), axis=1)
    return edges


def first_cuts(counts: npt.NDArray[Any]) -> Matrix:
    """Thresholds that split N(0, FIRST_SPREAD^2) by the levels' frequencies, (levels - 1,)."""
    shares = np.cumsum(counts)[:-1] / counts.sum()
    return np.array([FIRST_SPREAD * normal_quantile(share) for share in shares])


def first_means(counts: npt.NDArray[Any]) -> Matrix:
    """The median of each level in N(0, FIRST_SPREAD^2), (levels,)."""
    middles = (np.cumsum(counts) - counts / 2) / counts.sum()
    return np.array([FIRST_SPREAD * normal_quantile(share) for share in middles])


@compiled
def write_edges(gaps: Floats, row: int, edges: Matrix) -> None:
    """Writes the edges of one user that depend on the gaps; see `edges_of`."""
    for k in range(gaps.shape[1]):
        edges[row, k + 2] = edges[row, k + 1] + math.exp(min(gaps[row, k], WIDEST))


class GapPrior(NamedTuple):
    """A user's gaps are N(mean, precision^-1)."""

    mean: Matrix
    precision: Matrix
    key: np.uint64


@compiled
def draw_gaps(
    scored: Scored, prior: GapPrior, start: int, stop: int, gaps: Floats, edges: Matrix
) -> None:
    """One Metropolis step on each gap of users [start, stop), the latent numbers integrated out."""
    size = gaps.shape[1]
    view, codes = scored.ratings, scored.values
    for row in range(start, stop):
        key = placed(prior.key, view.ids[row])
        write_edges(gaps, row, edges)
        density = _log_density(scored, prior, row, gaps, edges)
        for k in range(size):
            near = 0
            for j in range(view.indptr[row], view.indptr[row + 1]):
                near += codes[j] == k + 1
            before, step = gaps[row, k], 2.0 / math.sqrt(prior.precision[k, k] + near)
            gaps[row, k] = before + step * normal(key, 2 * k)
            write_edges(gaps, row, edges)
            proposed = _log_density(scored, prior, row, gaps, edges)
            if math.log(uniform(key, 4 * k + 2)) < proposed - density:
                density = proposed
            else:
                gaps[row, k] = before
        write_edges(gaps, row, edges)


@compiled
def _log_density(scored: Scored, prior: GapPrior, row: int, gaps: Floats, edges: Matrix) -> float:
    value, (view, scores, codes) = 0.0, scored
    for a in range(gaps.shape[1]):
        for b in range(gaps.shape[1]):
            away = (gaps[row, a] - prior.mean[a]) * (gaps[row, b] - prior.mean[b])
            value -= 0.5 * prior.precision[a, b] * away
    for j in range(view.indptr[row], view.indptr[row + 1]):
        code = int(codes[j])
        chance = between(scores[j], edges[row, code], edges[row, code + 1])
        value += math.log(chance + _LEAST)
    return value


@compiled
def draw_latents(
    scored: Scored, edges: Matrix, key: np.uint64, start: int, stop: int, out: Flat
) -> None:
    """Latent number of each rating of rows [start, stop): N(score, 1) between its edges."""
    view, scores, codes = scored
    for row in range(start, stop):
        row_key = placed(key, view.ids[row])
        for j in range(view.indptr[row], view.indptr[row + 1]):
            place = row_key
            for side in range(view.others.shape[1]):
                place = placed(place, view.names[view.others[j, side]])
            code, owner = int(codes[j]), view.owners[j]
            low, high = edges[owner, code], edges[owner, code + 1]
            out[j] = truncated_normal(scores[j], low, high, uniform(place, 0))


@compiled
def mean_latents(scored: Scored, edges: Matrix, start: int, stop: int, out: Flat) -> None:
    """Mean of each latent number of rows [start, stop), instead of a draw."""
    view, scores, codes = scored
    for row in range(start, stop):
        for j in range(view.indptr[row], view.indptr[row + 1]):
            code, owner, score = int(codes[j]), view.owners[j], np.float64(scores[j])
            low, high = edges[owner, code], edges[owner, code + 1]
            chance = between(score, low, high)
            if chance > _NARROW:
                a, b = low - score, high - score
                density = math.exp(-0.5 * min(a * a, 1e3)) - math.exp(-0.5 * min(b * b, 1e3))
                out[j] = score + density / (math.sqrt(2.0 * math.pi) * chance)
            else:
                out[j] = low if score < low else high


@compiled
def log_likelihood_of(scored: Scored, edges: Matrix) -> float:
    """Log likelihood of the levels, given the scores."""
    total, (view, scores, codes) = 0.0, scored
    for j in range(len(codes)):
        code, owner = int(codes[j]), view.owners[j]
        total += math.log(between(scores[j], edges[owner, code], edges[owner, code + 1]) + _LEAST)
    return total
