"""Rows with factors at or above zero: projected Newton steps, compiled.

Columns at zero with a negative step are held. The other columns take the exact step of their own
system. Values below zero are set to zero. The step is shortened until it improves the objective. If
no length improves the objective, the step ends at the first column that reaches zero (Lawson and
Hanson 1974). Once the right columns are held, the step gives the solution, even for badly
conditioned systems. Method: Bertsekas 1982, "Projected Newton methods for optimization problems
with simple constraints".
"""

import numpy as np
import numpy.typing as npt

from matchlake.engine.cholesky import factorize, substitute
from matchlake.engine.simd import LANES, compiled, fma, load, splat, store

Floats = npt.NDArray[np.float32]

_ZERO, _HALF = np.float32(0.0), np.float32(0.5)
_STEPS, _HALVINGS, _SETTLED, _ENOUGH = 100, 4, 1e-7, 0.1
_ROUNDING = np.float32(1e-6)
"""A column that shrinks to this fraction of its value is set to zero."""


@compiled
def solve_bounded(matrix: Floats, residual: Floats, x: Floats, bounded: int) -> None:
    """Minimises `x' matrix x / 2 - b . x` in place, the first `bounded` columns at or above zero.

    `matrix` is symmetric; the function reads the upper triangle and fills in the rest. `residual`
    is `b - matrix x`, and is overwritten. The bounded columns of `x` start at or above zero.
    """
    size, gained = x.shape[0], 0.0
    for a in range(size):
        for b in range(a):
            matrix[a * size + b] = matrix[b * size + a]
    factor, step = np.empty_like(matrix), np.empty_like(x)
    move, product = np.empty_like(x), np.empty_like(x)
    for _ in range(_STEPS):
        _newton(matrix, residual, x, bounded, factor, step)
        promised = 0.5 * _dot(step, residual)
        length = np.float32(1.0)
        for halving in range(_HALVINGS + 1):
            if halving == _HALVINGS:
                length = _room(x, step, bounded)
            _project(x, step, length, bounded, move)
            _multiply(matrix, move, product)
            gain = _dot(move, residual) - 0.5 * _dot(move, product)
            if gain >= _ENOUGH * promised:
                break
            length *= _HALF
        if not gain > 0.0:
            break
        x += move
        residual -= product
        gained += gain
        if promised <= _SETTLED * gained:
            break


@compiled
def _newton(
    matrix: Floats, residual: Floats, x: Floats, bounded: int, factor: Floats, step: Floats
) -> None:
    """Computes the step of the free columns; it is zero for held columns.

    Columns at zero are held if the residual or the step is negative there.
    """
    size = x.shape[0]
    held = np.zeros(size, np.bool_)
    for a in range(min(bounded, size)):
        held[a] = x[a] <= _ZERO and residual[a] <= _ZERO
    again = True
    while again:
        factor[:] = matrix
        step[:] = residual
        for a in range(size):
            if held[a]:
                for k in range(size):
                    factor[a * size + k] = factor[k * size + a] = _ZERO
                factor[a * size + a] = np.float32(1.0)
                step[a] = _ZERO
        factorize(factor, size)
        substitute(factor, size, step)
        again = False
        for a in range(min(bounded, size)):
            if x[a] <= _ZERO and step[a] < _ZERO:
                held[a] = again = True


@compiled
def _room(x: Floats, step: Floats, bounded: int) -> np.float32:
    """Returns the length of the step at which the first column reaches zero, at most 1."""
    length = np.float32(1.0)
    for k in range(min(bounded, x.shape[0])):
        if x[k] + length * step[k] < _ZERO:
            length = -x[k] / step[k]
    return length


@compiled
def _project(x: Floats, step: Floats, length: np.float32, bounded: int, move: Floats) -> None:
    """Writes the move of `x` to `x + length step`, projected to zero or above."""
    for k in range(x.shape[0]):
        move[k] = length * step[k]
        if k < bounded and x[k] + move[k] <= _ROUNDING * x[k]:
            move[k] = -x[k]


@compiled
def _multiply(matrix: Floats, vector: Floats, out: Floats) -> None:
    size = vector.shape[0]
    out[:] = _ZERO
    for a in range(size):
        factor = splat(vector[a])
        for k in range(0, size, LANES):
            store(out, k, fma(factor, load(matrix, a * size + k), load(out, k)))


@compiled
def _dot(a: Floats, b: Floats) -> float:
    total = 0.0
    for k in range(a.shape[0]):
        total += np.float64(a[k]) * np.float64(b[k])
    return total
