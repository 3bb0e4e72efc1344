"""Compiled row solvers: each solves a range of rows of one side, with the other side fixed.

For a row with interactions `j` of value `v_j` at the columns `c_j`, they minimise

    min_x  sum_j w_j (t_j - design[c_j] . x)^2  +  x' gram x  +  ridge |x|^2

with `w_j = slope v_j + base` and `w_j t_j = gain v_j + shift (v_j > 0) - offsets[c_j]`.
This covers explicit and implicit fits. Rows are float32, padded with zero columns to a multiple of
LANES. A row without interactions becomes zero. The result of a row depends only on that row.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from matchlake.engine.cholesky import factorize, rank_update, substitute
from matchlake.engine.simd import LANES, compiled, fetch, fma, load, splat, store, total
from matchlake.recommender.als.nonnegative import solve_bounded

Floats = npt.NDArray[np.float32]
GATHERED = 64
"""The number of rows gathered per rank-k update; they fit in the L1/L2 cache with the matrix."""
_ZERO, _TINY = np.float32(0.0), np.float32(1e-20)
_RESIDUAL, _PRODUCT, _CURVATURE, _LOSS = 0, 1, 2, 3
_AHEAD = 8
"""The number of interactions by which rows of the design are prefetched."""


class Half(NamedTuple):
    """The least squares problems of one side; see the module's docstring for the objective."""

    indptr: npt.NDArray[np.int64]
    columns: npt.NDArray[np.int32]
    values: Floats
    design: Floats
    offsets: Floats
    gram: Floats
    ridge: Floats
    slope: np.float32
    base: np.float32
    gain: np.float32
    shift: np.float32


@compiled
def solve_cg(half: Half, x: Floats, start: int, stop: int, steps: int) -> None:
    """Conjugate gradients on rows [start, stop) of `x`, from the solution that `x` holds."""
    width = x.shape[1]
    residual, product = np.empty(width, np.float32), np.empty(width, np.float32)
    direction = np.empty(width, np.float32)
    for row in range(start, stop):
        solution = x[row]
        if half.indptr[row] == half.indptr[row + 1]:
            solution[:] = 0.0
            continue
        _smooth(half, row, solution, residual)
        for k in range(width):
            residual[k] = -residual[k]
        _visit(half, row, solution, residual, _RESIDUAL)
        norm = _dot(residual, residual)
        direction[:] = residual
        for step in range(steps):
            _smooth(half, row, direction, product)
            # The last step needs only the step length, not the next residual.
            final = step == steps - 1
            visited = _visit(half, row, direction, product, _CURVATURE if final else _PRODUCT)
            curvature = np.float32(visited) + _dot(direction, product)
            if norm < _TINY or curvature < _TINY:
                break
            length = norm / curvature
            for k in range(width):
                solution[k] += length * direction[k]
            if final:
                break
            for k in range(width):
                residual[k] -= length * product[k]
            previous, norm = norm, _dot(residual, residual)
            for k in range(width):
                direction[k] = residual[k] + norm / previous * direction[k]


@compiled
def _dot(a: Floats, b: Floats) -> np.float32:
    lanes = splat(_ZERO)
    for k in range(0, a.shape[0], LANES):
        lanes = fma(load(a, k), load(b, k), lanes)
    return np.float32(total(lanes))


@compiled
def _smooth(half: Half, row: int, vector: Floats, out: Floats) -> None:
    """Out = (gram + ridge) vector: the normal matrix without the interactions."""
    width, gram = vector.shape[0], half.gram
    ridge = splat(half.ridge[row])
    for k in range(0, width, LANES):
        store(out, k, fma(ridge, load(vector, k), splat(_ZERO)))
    if not half.gram.size:
        return
    for a in range(0, width, 4):
        f0, f1 = splat(vector[a]), splat(vector[a + 1])
        f2, f3 = splat(vector[a + 2]), splat(vector[a + 3])
        r0 = a * width
        r1, r2, r3 = r0 + width, r0 + 2 * width, r0 + 3 * width
        for k in range(0, width, LANES):
            lanes = fma(f0, load(gram, r0 + k), load(out, k))
            lanes = fma(f1, load(gram, r1 + k), lanes)
            lanes = fma(f2, load(gram, r2 + k), lanes)
            store(out, k, fma(f3, load(gram, r3 + k), lanes))


@compiled
def _visit(half: Half, row: int, vector: Floats, out: Floats, purpose: int) -> float:
    """Adds up terms over the interactions of a row, four at a time, for one of four purposes.

    With dot = design . vector, residual adds (w t - w dot) design to `out`, product adds w dot
    design to `out`. Both return 0. Curvature returns the sum of w dot^2, loss returns the sum of
    the terms of the objective.
    """
    width, design, last = vector.shape[0], half.design, half.indptr[row + 1]
    summed, end = np.float64(0.0), half.columns.shape[0] - 1
    for j in range(half.indptr[row], last, 4):
        # Past the end, the last interaction is repeated with the scale zero.
        j1, j2, j3 = min(j + 1, last - 1), min(j + 2, last - 1), min(j + 3, last - 1)
        o0, o1 = half.columns[j] * width, half.columns[j1] * width
        o2, o3 = half.columns[j2] * width, half.columns[j3] * width
        for a in range(j + _AHEAD, j + _AHEAD + 4):
            soon = half.columns[min(a, end)] * width
            for k in range(0, width, LANES):
                fetch(design, soon + k)
        s0 = s1 = s2 = s3 = splat(_ZERO)
        for k in range(0, width, LANES):
            lanes = load(vector, k)
            s0 = fma(load(design, o0 + k), lanes, s0)
            s1 = fma(load(design, o1 + k), lanes, s1)
            s2 = fma(load(design, o2 + k), lanes, s2)
            s3 = fma(load(design, o3 + k), lanes, s3)
        d0 = _scale(half, j, total(s0), purpose)
        d1 = _scale(half, j1, total(s1), purpose) if j + 1 < last else _ZERO
        d2 = _scale(half, j2, total(s2), purpose) if j + 2 < last else _ZERO
        d3 = _scale(half, j3, total(s3), purpose) if j + 3 < last else _ZERO
        if purpose >= _CURVATURE:
            summed += (d0 + d1) + (d2 + d3)
            continue
        f0, f1, f2, f3 = splat(d0), splat(d1), splat(d2), splat(d3)
        for k in range(0, width, LANES):
            lanes = fma(f0, load(design, o0 + k), load(out, k))
            lanes = fma(f1, load(design, o1 + k), lanes)
            lanes = fma(f2, load(design, o2 + k), lanes)
            store(out, k, fma(f3, load(design, o3 + k), lanes))
    return summed


@compiled
def _scale(half: Half, j: int, dot: np.float32, purpose: int) -> np.float32:
    weight = half.slope * half.values[j] + half.base
    if purpose == _RESIDUAL:
        return np.float32(_target(half, j) - weight * dot)
    if purpose == _LOSS:
        pull = _target(half, j)
        curvature = pull * pull if half.base > _ZERO else pull
        return np.float32(curvature - (pull + pull - weight * dot) * dot)
    return np.float32(weight * dot if purpose == _PRODUCT else weight * dot * dot)


@compiled
def _target(half: Half, j: int) -> np.float32:
    """Returns weight times target of an interaction; a weight of 0 counts as unobserved."""
    shift = half.shift if half.values[j] > _ZERO else _ZERO
    return np.float32(half.gain * half.values[j] + shift - half.offsets[half.columns[j]])


class _Scratch(NamedTuple):
    """The work memory of a block step: scores of the interactions, gathered rows, matrix, step."""

    scores: Floats
    gathered: Floats
    matrix: Floats
    step: Floats


@compiled
def solve_blocks(
    half: Half, x: Floats, start: int, stop: int, block: int, nonnegative: int
) -> None:
    """Makes exact steps on one block of columns after another, for rows [start, stop) of `x`.

    A block as wide as the row gives the exact solution. Narrower blocks make one sweep of block
    Gauss-Seidel from the solution in `x` (iALS++, Rendle et al. 2021, arXiv 2110.14044). The first
    `nonnegative` columns are kept at or above zero, which requires a block as wide as the row.
    """
    width, longest = x.shape[1], 0
    exact = block >= width and nonnegative == 0
    for row in range(start, stop):
        longest = max(longest, half.indptr[row + 1] - half.indptr[row])
    scores = np.empty(longest, np.float32)
    gathered = np.empty(GATHERED * block, np.float32)
    matrix, step = np.empty(block * block, np.float32), np.empty(block, np.float32)
    for row in range(start, stop):
        solution = x[row]
        empty = half.indptr[row] == half.indptr[row + 1]
        if empty or exact:
            solution[:] = 0.0
        if empty:
            continue
        for k in range(nonnegative):
            solution[k] = max(solution[k], _ZERO)
        scores[:] = 0.0
        if not exact:
            _add_scores(half, row, 0, solution, scores)
        for left in range(0, width, block):
            part = solution[left : min(left + block, width)]
            scratch = _Scratch(scores, gathered, matrix, step[: part.shape[0]])
            _start_block(half, row, left, solution, scratch)
            _gather_block(half, row, left, scratch)
            if nonnegative > left:
                solve_bounded(matrix, scratch.step, part, nonnegative)
                continue
            factorize(matrix, part.shape[0])
            substitute(matrix, part.shape[0], scratch.step)
            part += scratch.step
            if left + block < width:
                _add_scores(half, row, left, scratch.step, scores)


@compiled
def _add_scores(half: Half, row: int, left: int, vector: Floats, scores: Floats) -> None:
    """Adds `design[:, left:] . vector` of each interaction of `row` to `scores`."""
    width, first = half.design.shape[1], half.indptr[row]
    for j in range(first, half.indptr[row + 1]):
        offset = half.columns[j] * width + left
        lanes = splat(_ZERO)
        for k in range(0, vector.shape[0], LANES):
            lanes = fma(load(half.design, offset + k), load(vector, k), lanes)
        scores[j - first] += total(lanes)


@compiled
def _start_block(half: Half, row: int, left: int, solution: Floats, scratch: _Scratch) -> None:
    """Initialises the block's matrix and right side, without the interactions."""
    width, size, matrix = solution.shape[0], scratch.step.shape[0], scratch.matrix
    zero, shared = splat(_ZERO), half.gram.size > 0
    for a in range(size):
        offset, lanes = (left + a) * width, zero
        for b in range(0, size, LANES):
            store(matrix, a * size + b, load(half.gram, offset + left + b) if shared else zero)
        for k in range(0, width if shared else 0, LANES):
            lanes = fma(load(half.gram, offset + k), load(solution, k), lanes)
        scratch.step[a] = -half.ridge[row] * solution[left + a] - total(lanes)
        matrix[a * size + a] += half.ridge[row]


@compiled
def _gather_block(half: Half, row: int, left: int, scratch: _Scratch) -> None:
    """Adds the interactions to the block's matrix and right side."""
    width, size, first = half.design.shape[1], scratch.step.shape[0], half.indptr[row]
    step, gathered = scratch.step, scratch.gathered
    count = 0
    for j in range(first, half.indptr[row + 1]):
        weight = half.slope * half.values[j] + half.base
        pull = splat(_target(half, j) - weight * scratch.scores[j - first])
        root, zero = splat(np.float32(np.sqrt(weight))), splat(_ZERO)
        offset = half.columns[j] * width + left
        for k in range(0, size, LANES):
            lanes = load(half.design, offset + k)
            store(step, k, fma(pull, lanes, load(step, k)))
            store(gathered, count * size + k, fma(root, lanes, zero))
        count += 1
        if count == GATHERED:
            rank_update(gathered, count, size, scratch.matrix)
            count = 0
    rank_update(gathered, count, size, scratch.matrix)


@compiled
def sum_losses(half: Half, x: Floats, start: int, stop: int) -> float:
    """Returns the part of rows [start, stop) in the objective, with their own penalty.

    Implicit: `sum c (t - s)^2` without its constant part. So `objective="hu_koren"` gives
    `sum (1 + c) (1 - s)^2` over observed pairs and `s^2` over all others.
    """
    width = x.shape[1]
    product, loss = np.empty(width, np.float32), np.float64(0.0)
    for row in range(start, stop):
        _smooth(half, row, x[row], product)
        loss += _dot(x[row], product)
        loss += _visit(half, row, x[row], product, _LOSS)
    return float(loss)
