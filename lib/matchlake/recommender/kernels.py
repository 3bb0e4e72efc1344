"""Row solvers, compiled: each solves a range of rows of one side with the other side fixed.

All solve, for every row `r` with interactions `i`, the least squares problem

    min_x  sum_i w_i (t_i - design_i . x)^2  +  x' gram x  +  ridge_r |x|^2

and take the same arguments, see `matchlake.recommender.solver.Half`. Arrays are float32 and
contiguous, functions release the GIL, and compiled code is cached on disk beside this file (or in
the user's cache folder where that is read-only).
"""

import numba
import numpy as np

_jit = numba.njit(nogil=True, fastmath=True, cache=True, error_model="numpy")


@_jit
def solve_cg(indptr, columns, weights, targets, design, gram, ridge, x, start, stop, steps):
    """Warm-started conjugate gradients on rows [start, stop); `x` holds the previous solution."""
    width = design.shape[1]
    residual = np.empty(width, np.float32)
    direction = np.empty(width, np.float32)
    product = np.empty(width, np.float32)
    for row in range(start, stop):
        first, last = indptr[row], indptr[row + 1]
        if first == last:
            x[row] = 0.0
            continue
        solution = x[row]
        _apply_gram(gram, ridge[row], solution, product)
        for k in range(width):
            residual[k] = -product[k]
        for j in range(first, last):
            factor = design[columns[j]]
            dot = np.float32(0.0)
            for k in range(width):
                dot += factor[k] * solution[k]
            scale = targets[j] - weights[j] * dot
            for k in range(width):
                residual[k] += scale * factor[k]
        norm = np.float32(0.0)
        for k in range(width):
            direction[k] = residual[k]
            norm += residual[k] * residual[k]
        for _ in range(steps):
            if norm < 1e-20:
                break
            _apply_gram(gram, ridge[row], direction, product)
            for j in range(first, last):
                factor = design[columns[j]]
                dot = np.float32(0.0)
                for k in range(width):
                    dot += factor[k] * direction[k]
                dot *= weights[j]
                for k in range(width):
                    product[k] += dot * factor[k]
            curvature = np.float32(0.0)
            for k in range(width):
                curvature += direction[k] * product[k]
            step = norm / curvature
            previous = norm
            norm = np.float32(0.0)
            for k in range(width):
                solution[k] += step * direction[k]
                residual[k] -= step * product[k]
                norm += residual[k] * residual[k]
            for k in range(width):
                direction[k] = residual[k] + norm / previous * direction[k]


@_jit
def _apply_gram(gram, ridge, vector, out):
    width = vector.shape[0]
    for k in range(width):
        out[k] = ridge * vector[k]
    for j in range(width):
        scale = vector[j]
        for k in range(width):
            out[k] += scale * gram[j, k]


@_jit
def solve_cholesky(indptr, columns, weights, targets, design, gram, ridge, x, start, stop):
    """Exact solution of rows [start, stop) by the normal equations."""
    width = design.shape[1]
    matrix = np.empty((width, width), np.float32)
    for row in range(start, stop):
        first, last = indptr[row], indptr[row + 1]
        solution = x[row]
        for k in range(width):
            solution[k] = 0.0
        if first == last:
            continue
        for a in range(width):
            for b in range(a + 1):
                matrix[a, b] = gram[a, b]
            matrix[a, a] += ridge[row]
        for j in range(first, last):
            factor = design[columns[j]]
            for k in range(width):
                solution[k] += targets[j] * factor[k]
            for a in range(width):
                scale = weights[j] * factor[a]
                for b in range(a + 1):
                    matrix[a, b] += scale * factor[b]
        factorize(matrix)
        substitute(matrix, solution)


@_jit
def factorize(matrix):
    """Cholesky factor of a symmetric matrix, in place, in its lower triangle.

    A pivot that is not positive stands for a column the data do not determine: its solution is 0.
    """
    width = matrix.shape[0]
    for a in range(width):
        for b in range(a):
            total = matrix[a, b]
            for k in range(b):
                total -= matrix[a, k] * matrix[b, k]
            matrix[a, b] = total * matrix[b, b]
        pivot = matrix[a, a]
        for k in range(a):
            pivot -= matrix[a, k] * matrix[a, k]
        # The diagonal keeps the inverse: a division a row, not one an element.
        matrix[a, a] = 1.0 / np.sqrt(pivot) if pivot > 1e-12 else 0.0


@_jit
def substitute(matrix, solution):
    """Solves `L L' x = solution` in place, with the factor that `factorize` left."""
    width = matrix.shape[0]
    for a in range(width):
        total = solution[a]
        for k in range(a):
            total -= matrix[a, k] * solution[k]
        solution[a] = total * matrix[a, a]
    for a in range(width - 1, -1, -1):
        solution[a] *= matrix[a, a]
        for k in range(a):
            solution[k] -= matrix[a, k] * solution[a]
