"""Half an iteration: every row of one side solved with the other side fixed, on threads."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from matchlake.recommender import kernels
from matchlake.recommender.blocks import Csr
from matchlake.recommender.params import CG_FROM_RANK, AlsParams

Matrix = npt.NDArray[np.float32]

LANES = 16
"""Columns of a stored row are padded with zeros to a multiple of this: one AVX-512 register."""


def stored_width(params: AlsParams) -> int:
    """Columns of a stored row: factors, then the bias if there is one, then padding."""
    return -(-(params.rank + params.has_bias) // LANES) * LANES


@dataclass(frozen=True)
class Half:
    """One side's least squares problems, in the form of `matchlake.recommender.kernels`."""

    indptr: npt.NDArray[np.int64]
    columns: npt.NDArray[np.int32]
    weights: Matrix
    targets: Matrix
    design: Matrix
    gram: Matrix
    ridge: Matrix


RowSolver = Callable[[Half, Matrix, int, int], None]
"""Solves rows [start, stop) of a half into a matrix that holds their previous solution."""


def row_solver(params: AlsParams) -> RowSolver:
    """The solver that `params` name, or for `auto` the one that suits feedback and rank."""
    exact = params.solver == "cholesky" or (
        params.solver == "auto" and (params.rank < CG_FROM_RANK or params.feedback == "explicit")
    )

    def solve(half: Half, x: Matrix, start: int, stop: int) -> None:
        parts = (half.indptr, half.columns, half.weights, half.targets, half.design, half.gram)
        if exact:
            kernels.solve_cholesky(*parts, half.ridge, x, start, stop)
        else:
            kernels.solve_cg(*parts, half.ridge, x, start, stop, params.cg_steps)

    return solve


def prepare_half(rows: Csr, other: Matrix, gram: Matrix, params: AlsParams) -> Half:
    """The problems of one side, given the other side's stored rows and their Gram matrix."""
    ridge = ridges(rows.counts(), len(other), params)
    if params.feedback == "implicit":
        weights = np.float32(params.alpha) * rows.values
        targets = weights + np.float32(params.target == "hu-koren")
        return Half(rows.indptr, rows.columns, weights, targets, other, gram, ridge)
    weights = np.ones_like(rows.values)
    if not params.has_bias:
        return Half(rows.indptr, rows.columns, weights, rows.values, other, gram, ridge)
    targets = rows.values - other[rows.columns, params.rank]
    design = other.copy()
    design[:, params.rank] = 1.0
    return Half(rows.indptr, rows.columns, weights, targets, design, gram, ridge)


def ridges(counts: npt.NDArray[np.int64], others: int, params: AlsParams) -> Matrix:
    """Weight of each row's own squared norm: `regularization * (n + base_weight * others)^nu`."""
    frequency = counts + params.base_weight * others
    return (params.regularization * frequency**params.nu).astype(np.float32)


def gram(matrix: Matrix, params: AlsParams) -> Matrix:
    """`base_weight * matrix' matrix`, summed in f64 over pieces in a fixed order."""
    width = matrix.shape[1]
    total = np.zeros((width, width))
    if params.base_weight:
        for start in range(0, len(matrix), 4096):
            piece = matrix[start : start + 4096]
            total += piece.T @ piece
    return (params.base_weight * total).astype(np.float32)


def solve_half(solve: RowSolver, half: Half, x: Matrix, threads: int) -> None:
    """Solves all rows of `x` in place; threads take pieces of about equal work."""
    pieces = _pieces(half.indptr, 8 * threads)
    if threads == 1:
        for start, stop in pieces:
            solve(half, x, start, stop)
        return
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(lambda piece: solve(half, x, *piece), pieces))


def _pieces(indptr: npt.NDArray[np.int64], count: int) -> list[tuple[int, int]]:
    rows = len(indptr) - 1
    work = indptr + 32 * np.arange(rows + 1)
    marks = np.searchsorted(work, np.linspace(0, work[-1], count + 1))
    marks[0], marks[-1] = 0, rows
    return [(int(a), int(b)) for a, b in zip(marks, marks[1:], strict=False) if a < b]
