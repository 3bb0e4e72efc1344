"""Small symmetric positive definite systems inside kernels: rank-k update, factor, substitution.

Matrices are flat float32 arrays of `width * width`, row by row, `width` a multiple of LANES. Only
the upper triangle counts; values left of the diagonal are scratch. The loops run over rows of that
triangle, so every inner step is a fused multiply-add on sixteen neighbours.
"""

import numpy as np
import numpy.typing as npt

from matchlake.engine.simd import LANES, compiled, fma, load, splat, store, total

Flat = npt.NDArray[np.float32]

PANEL = 4
"""Pivot rows that `factorize` takes per update of the rows below."""

_DETERMINED = np.float32(1e-6)
"""A pivot below this part of its diagonal is a rounding error: the column is undetermined."""


@compiled
def rank_update(rows: Flat, count: int, width: int, matrix: Flat) -> None:
    """Adds `R' R` to the upper triangle of `matrix`, R the first `count` rows of `rows`.

    Tiles of 8 x 16 stay in registers while all rows pass: two operations per load.
    """
    for a in range(0, width, 8):
        for c in range(a - a % LANES, width, LANES):
            o = a * width + c
            t0, t1 = load(matrix, o), load(matrix, o + width)
            t2, t3 = load(matrix, o + 2 * width), load(matrix, o + 3 * width)
            t4, t5 = load(matrix, o + 4 * width), load(matrix, o + 5 * width)
            t6, t7 = load(matrix, o + 6 * width), load(matrix, o + 7 * width)
            for row in range(count):
                lanes, q = load(rows, row * width + c), row * width + a
                t0 = fma(splat(rows[q]), lanes, t0)
                t1 = fma(splat(rows[q + 1]), lanes, t1)
                t2 = fma(splat(rows[q + 2]), lanes, t2)
                t3 = fma(splat(rows[q + 3]), lanes, t3)
                t4 = fma(splat(rows[q + 4]), lanes, t4)
                t5 = fma(splat(rows[q + 5]), lanes, t5)
                t6 = fma(splat(rows[q + 6]), lanes, t6)
                t7 = fma(splat(rows[q + 7]), lanes, t7)
            store(matrix, o, t0)
            store(matrix, o + width, t1)
            store(matrix, o + 2 * width, t2)
            store(matrix, o + 3 * width, t3)
            store(matrix, o + 4 * width, t4)
            store(matrix, o + 5 * width, t5)
            store(matrix, o + 6 * width, t6)
            store(matrix, o + 7 * width, t7)


@compiled
def factorize(matrix: Flat, width: int) -> None:
    """Replaces `matrix` by its Cholesky factor U, `U' U = matrix`, with 1 / U_kk on the diagonal.

    A column that the data do not determine gets the diagonal 0, and so the solution 0.
    """
    limits = np.empty(width, np.float32)
    for k in range(width):
        limits[k] = _DETERMINED * matrix[k * width + k]
    for panel in range(0, width, PANEL):
        for k in range(panel, panel + PANEL):
            for q in range(panel, k):
                _subtract(matrix, k * width, matrix[q * width + k], q * width, k, width)
            _finish_row(matrix, k, width, limits[k])
        for k in range(panel + PANEL, width):
            r0 = panel * width
            r1, r2, r3 = r0 + width, r0 + 2 * width, r0 + 3 * width
            f0, f1 = splat(-matrix[r0 + k]), splat(-matrix[r1 + k])
            f2, f3 = splat(-matrix[r2 + k]), splat(-matrix[r3 + k])
            for c in range(k - k % LANES, width, LANES):
                lanes = fma(f0, load(matrix, r0 + c), load(matrix, k * width + c))
                lanes = fma(f1, load(matrix, r1 + c), lanes)
                lanes = fma(f2, load(matrix, r2 + c), lanes)
                lanes = fma(f3, load(matrix, r3 + c), lanes)
                store(matrix, k * width + c, lanes)


@compiled
def _subtract(
    matrix: Flat, into: int, scale: np.float32, source: int, column: int, width: int
) -> None:
    lanes = splat(-scale)
    for c in range(column - column % LANES, width, LANES):
        store(matrix, into + c, fma(lanes, load(matrix, source + c), load(matrix, into + c)))


@compiled
def _finish_row(matrix: Flat, row: int, width: int, limit: np.float32) -> None:
    start = row * width
    pivot = matrix[start + row]
    inverse = np.float32(1.0) / np.sqrt(pivot) if pivot > limit else np.float32(0.0)
    for c in range(row - row % LANES, row):
        matrix[start + c] = 0.0
    for c in range(row + 1, width):
        matrix[start + c] *= inverse
    matrix[start + row] = inverse


@compiled
def substitute(matrix: Flat, width: int, vector: Flat) -> None:
    """Solves `U' U x = vector` in place, with the factor that `factorize` left."""
    forward_substitute(matrix, width, vector)
    back_substitute(matrix, width, vector)


@compiled
def forward_substitute(matrix: Flat, width: int, vector: Flat) -> None:
    """Solves `U' x = vector` in place."""
    for k in range(width):
        value = vector[k] * matrix[k * width + k]
        lanes = splat(-value)
        for c in range(k - k % LANES, width, LANES):
            store(vector, c, fma(lanes, load(matrix, k * width + c), load(vector, c)))
        vector[k] = value


@compiled
def back_substitute(matrix: Flat, width: int, vector: Flat) -> None:
    """Solves `U x = vector` in place."""
    for k in range(width - 1, -1, -1):
        value = vector[k]
        vector[k] = 0.0
        lanes = splat(np.float32(0.0))
        for c in range(k - k % LANES, width, LANES):
            lanes = fma(load(matrix, k * width + c), load(vector, c), lanes)
        vector[k] = (value - total(lanes)) * matrix[k * width + k]
