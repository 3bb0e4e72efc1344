"""The Gibbs draws of rows, compiled: scores of ratings, and rows given everything else.

A rating has one row on every side: user, item and, perhaps, day. Seen from one side, its score is
`design . z + offset`: z is that side's row, design the sum of the other sides' factors and a one
for the bias, offset their biases and their dot products with each other.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from matchlake.recommender.blocks import Floats, Ints, Positions
from matchlake.recommender.cholesky import (
    back_substitute,
    factorize,
    forward_substitute,
    rank_update,
    substitute,
)
from matchlake.recommender.matchbox.draws import normal, placed
from matchlake.recommender.simd import LANES, compiled, fma, load, splat, store, total

Flat = npt.NDArray[np.float32]
Matrix = npt.NDArray[np.float64]

GATHERED = 256
"""Ratings gathered before one rank-k update."""


class View(NamedTuple):
    """All ratings as one side sees them: those of row `r` stand at `indptr[r]:indptr[r + 1]`.

    `others` (ratings, other sides) holds numbers of rows in `stack`, where the rows of all sides
    lie one after another: `columns` values, the bias last, then zeros up to a multiple of LANES.
    `owners` is each rating's user. `ids` numbers this side's rows, and `names` those of `stack`,
    over all partitions.
    """

    indptr: Ints
    others: Positions
    owners: Positions
    ids: Ints
    names: Ints
    stack: Flat
    columns: int


class Scored(NamedTuple):
    """Ratings as one side sees them, their scores, and their values (or codes of levels)."""

    ratings: View
    scores: Flat
    values: Flat


@compiled
def _design(view: View, rating: int, design: Flat) -> np.float32:
    """Writes a rating's design row and returns its offset."""
    width, bias = design.shape[0], view.columns - 1
    zero, offset = splat(np.float32(0.0)), np.float32(0.0)
    for c in range(0, width, LANES):
        store(design, c, zero)
    for side in range(view.others.shape[1]):
        place, lanes = view.others[rating, side] * width, zero
        design[bias] = 0.0
        for c in range(0, width, LANES):
            row = load(view.stack, place + c)
            summed = load(design, c)
            lanes = fma(row, summed, lanes)
            store(design, c, fma(row, splat(np.float32(1.0)), summed))
        offset += total(lanes) + view.stack[place + bias]
    design[bias] = 1.0
    return np.float32(offset)


@compiled
def _dot(a: Flat, b: Flat) -> np.float32:
    lanes = splat(np.float32(0.0))
    for c in range(0, a.shape[0], LANES):
        lanes = fma(load(a, c), load(b, c), lanes)
    return np.float32(total(lanes))


@compiled
def score_rows(view: View, rows: Floats, start: int, stop: int, out: Flat) -> None:
    """Scores of all ratings of rows [start, stop), without the mean."""
    design = np.empty(rows.shape[1], np.float32)
    for row in range(start, stop):
        for j in range(view.indptr[row], view.indptr[row + 1]):
            out[j] = _design(view, j, design) + _dot(design, rows[row])


class Conditional(NamedTuple):
    """What a side's draw is conditioned on, beside the other sides' rows.

    Rows are N(prior mean, precision^-1) before their ratings, `pull` (rows, width) being
    precision @ prior mean; a rating's target is N(score, 1 / weights[its owner]).
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
    design: Flat


@compiled
def _factor_row(view: View, given: Conditional, row: int, scratch: _Scratch) -> None:
    """A row's A, factorized, and h, in `scratch.matrix` and `scratch.solution`."""
    solution, matrix, gathered, design = scratch
    width, zero, count = design.shape[0], splat(np.float32(0.0)), 0
    solution[:] = given.pull[row]
    matrix[:] = given.precision
    for j in range(view.indptr[row], view.indptr[row + 1]):
        offset = _design(view, j, design)
        weight = given.weights[view.owners[j]]
        pull = splat(np.float32(weight * (given.targets[j] - offset)))
        root = splat(np.sqrt(weight))
        for c in range(0, width, LANES):
            lanes = load(design, c)
            store(solution, c, fma(pull, lanes, load(solution, c)))
            store(gathered, count * width + c, fma(root, lanes, zero))
        count += 1
        if count == GATHERED:
            rank_update(gathered, count, width, matrix)
            count = 0
    rank_update(gathered, count, width, matrix)
    factorize(matrix, width)


@compiled
def draw_rows(view: View, given: Conditional, start: int, stop: int, out: Floats) -> None:
    """Draws rows [start, stop) of one side; with `given.noise` 0 these are conditional means.

    Row: N(A^-1 h, A^-1), A = precision + sum w d d', h = pull + sum w (target - offset) d.
    """
    width, bias = out.shape[1], view.columns - 1
    gathered = np.empty(GATHERED * width, np.float32)
    matrix, design = np.empty(width * width, np.float32), np.empty(width, np.float32)
    chance = np.empty(width, np.float32)
    for row in range(start, stop):
        solution = out[row]
        _factor_row(view, given, row, _Scratch(solution, matrix, gathered, design))
        substitute(matrix, width, solution)
        if given.noise != 0.0:
            key = placed(given.key, view.ids[row])
            chance[:] = 0.0
            for c in range(bias + 1):
                chance[c] = given.noise * normal(key, c)
            back_substitute(matrix, width, chance)
            solution += chance


@compiled
def spread_rows(
    view: View, given: Conditional, roots: Floats, start: int, stop: int, out: Flat
) -> None:
    """Sums of g' A^-1 g over the rows g of `roots`, A that of `draw_rows`: traces of A^-1 G'G."""
    width = roots.shape[1]
    gathered = np.empty(GATHERED * width, np.float32)
    matrix, design = np.empty(width * width, np.float32), np.empty(width, np.float32)
    solution = np.empty(width, np.float32)
    for row in range(start, stop):
        _factor_row(view, given, row, _Scratch(solution, matrix, gathered, design))
        out[row] = 0.0
        for k in range(len(roots)):
            solution[:] = roots[k]
            forward_substitute(matrix, width, solution)
            out[row] += _dot(solution, solution)


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
            value, place = np.float64(sparse.values[j]), sparse.columns[j]
            for k in range(dense.shape[1]):
                out[row, k] += value * dense[place, k]
