"""Compiled Gibbs kernels: the score of each rating, and the draw of each factor row.

The sides are users, items and, optionally, days. A rating has one factor row on each side. For the
draw of a row z of one side, the score of a rating is `design . z + offset`. `design` is the sum of
the factors on the other sides, and 1 for the bias. `offset` is the sum of the biases and dot
products of the other sides.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from matchlake.engine.cholesky import (
    back_substitute,
    factorize,
    forward_substitute,
    rank_update,
    substitute,
)
from matchlake.engine.csr import Floats, Ints, Positions
from matchlake.engine.simd import LANES, compiled, fetch, fma, load, splat, store, total
from matchlake.recommender.matchbox.sampler.random import normal, placed

Flat = npt.NDArray[np.float32]
Matrix = npt.NDArray[np.float64]

GATHERED = 64
"""The number of ratings gathered per rank-k update; they fit in the L1/L2 cache with the matrix."""
_AHEAD = 8
"""The rows of the other sides are prefetched this number of ratings ahead."""
_ZERO, _ONE = np.float32(0.0), np.float32(1.0)


class View(NamedTuple):
    """All ratings, sorted by the rows of one side; row `r` has `indptr[r]:indptr[r + 1]`.

    `stack` has the rows of all sides, one after another. A row has `columns` values, the bias last,
    then zeros up to a multiple of LANES. `others` (ratings, other sides) holds row numbers of
    `stack`. `owners` has the user of each rating. `ids` has the global numbers of this side's rows,
    `names` those of the rows of `stack`.
    """

    indptr: Ints
    others: Positions
    owners: Positions
    ids: Ints
    names: Ints
    stack: Flat
    columns: int


class Scored(NamedTuple):
    """Ratings in the order of one side, their scores, and their values (or codes of levels)."""

    ratings: View
    scores: Flat
    values: Flat


@compiled
def _meet(view: View, rating: int, both: Flat) -> np.float32:
    """Writes the sum of a rating's rows on the two other sides, and returns its offset.

    The written value in the bias column is unused.
    """
    width, bias = both.shape[0], view.columns - 1
    first, second = view.others[rating, 0] * width, view.others[rating, 1] * width
    lanes, one = splat(_ZERO), splat(_ONE)
    for c in range(0, width, LANES):
        a, b = load(view.stack, first + c), load(view.stack, second + c)
        lanes = fma(a, b, lanes)
        store(both, c, fma(a, one, b))
    a_bias, b_bias = view.stack[first + bias], view.stack[second + bias]
    return np.float32(total(lanes) - a_bias * b_bias + a_bias + b_bias)


@compiled
def _ask(view: View, rating: int, width: int) -> None:
    """Prefetches the rows of a later rating."""
    soon = min(rating + _AHEAD, view.others.shape[0] - 1)
    for side in range(view.others.shape[1]):
        offset_of_row = view.others[soon, side] * width
        for c in range(0, width, LANES):
            fetch(view.stack, offset_of_row + c)


@compiled
def _dot(rows: Flat, start: int, vector: Flat) -> np.float32:
    lanes = splat(_ZERO)
    for c in range(0, vector.shape[0], LANES):
        lanes = fma(load(rows, start + c), load(vector, c), lanes)
    return np.float32(total(lanes))


@compiled
def score_rows(view: View, rows: Floats, start: int, stop: int, out: Flat) -> None:
    """Scores of all ratings of rows [start, stop), without the mean."""
    width, bias, two = rows.shape[1], view.columns - 1, view.others.shape[1] > 1
    both, own = np.empty(width, np.float32), np.empty(width, np.float32)
    for row in range(start, stop):
        own[:] = rows[row]
        own[bias] = 0.0
        for j in range(view.indptr[row], view.indptr[row + 1]):
            _ask(view, j, width)
            if two:
                out[j] = rows[row, bias] + _meet(view, j, both) + _dot(both, 0, own)
            else:
                place = view.others[j, 0] * width
                offset = view.stack[place + bias]
                out[j] = rows[row, bias] + offset + _dot(view.stack, place, own)


class Conditional(NamedTuple):
    """The inputs of a draw of one side, besides the rows of the other sides.

    The prior of a row is N(prior mean, precision^-1). `pull` (rows, width) is precision @ prior
    mean. The target of a rating is N(score, 1 / weights[owner of the rating]).
    """

    precision: Flat
    pull: Floats
    targets: Flat
    weights: Flat
    key: np.uint64
    noise: float


class _Scratch(NamedTuple):
    solution: Flat
    matrix: Flat
    gathered: Flat
    both: Flat


@compiled
def _gather(
    rows: Flat, start: int, pull: np.float32, root: np.float32, count: int, scratch: _Scratch
) -> None:
    """Adds `pull` times a row to the solution, and puts `root` times the row into `gathered`."""
    solution, width = scratch.solution, scratch.solution.shape[0]
    pulls, roots, zero = splat(pull), splat(root), splat(_ZERO)
    for c in range(0, width, LANES):
        lanes = load(rows, start + c)
        store(solution, c, fma(pulls, lanes, load(solution, c)))
        store(scratch.gathered, count * width + c, fma(roots, lanes, zero))


@compiled
def _factor_row(view: View, conditional: Conditional, row: int, scratch: _Scratch) -> None:
    """Writes a row's factorized A and h to `scratch.matrix` and `scratch.solution`."""
    solution, matrix, gathered, both = scratch
    width, bias, two = solution.shape[0], view.columns - 1, view.others.shape[1] > 1
    solution[:] = conditional.pull[row]
    matrix[:] = conditional.precision
    pulled, count = solution[bias], 0
    for j in range(view.indptr[row], view.indptr[row + 1]):
        _ask(view, j, width)
        start = view.others[j, 0] * width
        offset = _meet(view, j, both) if two else view.stack[start + bias]
        weight = conditional.weights[view.owners[j]]
        pull, root = np.float32(weight * (conditional.targets[j] - offset)), np.sqrt(weight)
        if two:
            _gather(both, 0, pull, root, count, scratch)
        else:
            _gather(view.stack, start, pull, root, count, scratch)
        gathered[count * width + bias] = root
        pulled += pull
        count += 1
        if count == GATHERED:
            rank_update(gathered, count, width, matrix)
            count = 0
    rank_update(gathered, count, width, matrix)
    solution[bias] = pulled
    factorize(matrix, width)


@compiled
def draw_rows(view: View, conditional: Conditional, start: int, stop: int, out: Floats) -> None:
    """Draws rows [start, stop) of one side; with `conditional.noise` 0 these are conditional means.

    A row is drawn from N(A^-1 h, A^-1), with A = precision + sum w d d' and
    h = pull + sum w (target - offset) d. The sums are over the ratings of the row; w is the weight,
    d the design.
    """
    width, bias = out.shape[1], view.columns - 1
    gathered = np.empty(GATHERED * width, np.float32)
    matrix, both = np.empty(width * width, np.float32), np.empty(width, np.float32)
    chance = np.empty(width, np.float32)
    for row in range(start, stop):
        solution = out[row]
        _factor_row(view, conditional, row, _Scratch(solution, matrix, gathered, both))
        substitute(matrix, width, solution)
        if conditional.noise != 0.0:
            key = placed(conditional.key, view.ids[row])
            chance[:] = 0.0
            for c in range(bias + 1):
                chance[c] = conditional.noise * normal(key, c)
            back_substitute(matrix, width, chance)
            solution += chance


@compiled
def spread_rows(
    view: View, conditional: Conditional, roots: Floats, start: int, stop: int, out: Flat
) -> None:
    """For each row, the trace of A^-1 G'G, with G = `roots` and the A of `draw_rows`.

    The trace is the sum of g' A^-1 g over the rows g of G.
    """
    width = roots.shape[1]
    gathered = np.empty(GATHERED * width, np.float32)
    matrix, both = np.empty(width * width, np.float32), np.empty(width, np.float32)
    solution = np.empty(width, np.float32)
    for row in range(start, stop):
        _factor_row(view, conditional, row, _Scratch(solution, matrix, gathered, both))
        out[row] = 0.0
        for k in range(len(roots)):
            solution[:] = roots[k]
            forward_substitute(matrix, width, solution)
            out[row] += _dot(solution, 0, solution)


class Sparse(NamedTuple):
    """The arrays of a `Csr`."""

    indptr: Ints
    columns: Positions
    values: Flat


@compiled
def sparse_times_dense(sparse: Sparse, dense: Matrix, start: int, stop: int, out: Matrix) -> None:
    """Rows [start, stop) of sparse @ dense, in f64."""
    for row in range(start, stop):
        out[row] = 0.0
        for j in range(sparse.indptr[row], sparse.indptr[row + 1]):
            value, column = np.float64(sparse.values[j]), sparse.columns[j]
            for k in range(dense.shape[1]):
                out[row, k] += value * dense[column, k]
