"""Ratings as levels: a latent normal number, cut at thresholds of the user's own.

The first threshold is the same for all users (a user's bias shifts the others' place), each
further one stands `exp(gap)` above the one before; a user's gaps are a row with a normal prior.
"""

import math
from typing import NamedTuple

import numpy as np

from matchlake.recommender.blocks import Floats, Ints
from matchlake.recommender.matchbox.draws import (
    between,
    normal,
    normal_quantile,
    placed,
    truncated_normal,
    uniform,
)
from matchlake.recommender.matchbox.kernels import Flat, Matrix, Scored
from matchlake.recommender.simd import compiled

FAR = 1e9
"""Stands for infinity below the first and above the last level."""

_SPREAD = 1.3
"""Standard deviation of the latent numbers from which the first thresholds are guessed."""

_LEAST = 1e-300
_NARROW = 1e-12


def first_cuts(codes: Ints, levels: int) -> Matrix:
    """Thresholds that split N(0, _SPREAD^2) as the levels' frequencies are, (levels - 1,)."""
    counts = np.bincount(codes, minlength=levels)
    shares = np.cumsum(counts)[:-1] / counts.sum()
    return np.array([_SPREAD * normal_quantile(share) for share in shares])


@compiled
def write_edges(gaps: Floats, base: float, row: int, edges: Matrix) -> None:
    """Edges of all levels of a user, `levels + 1` of them, from the gaps."""
    edges[row, 0], edges[row, 1] = -FAR, base
    for k in range(gaps.shape[1]):
        edges[row, k + 2] = edges[row, k + 1] + math.exp(gaps[row, k])
    edges[row, gaps.shape[1] + 2] = FAR


class GapPrior(NamedTuple):
    """A user's gaps are N(mean, precision^-1); `base` is the first threshold."""

    mean: Matrix
    precision: Matrix
    base: float
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
        write_edges(gaps, prior.base, row, edges)
        density = _log_density(scored, prior, row, gaps, edges)
        for k in range(size):
            near = 0
            for j in range(view.indptr[row], view.indptr[row + 1]):
                near += codes[j] == k + 1
            kept, step = gaps[row, k], 2.0 / math.sqrt(prior.precision[k, k] + near)
            gaps[row, k] = kept + step * normal(key, 2 * k)
            write_edges(gaps, prior.base, row, edges)
            proposed = _log_density(scored, prior, row, gaps, edges)
            if math.log(uniform(key, 4 * k + 2)) < proposed - density:
                density = proposed
            else:
                gaps[row, k] = kept
        write_edges(gaps, prior.base, row, edges)


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
