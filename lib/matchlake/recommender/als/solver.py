"""A half-iteration: solves all rows of one side on threads, with the other side fixed."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from matchlake.engine.csr import Csr
from matchlake.engine.simd import LANES
from matchlake.engine.threads import on_threads
from matchlake.recommender.als import kernels
from matchlake.recommender.als.kernels import Half
from matchlake.recommender.als.params import (
    BLOCK_SIZE,
    BLOCKS_FROM_RANK,
    CG_FROM_RANK,
    AlsParams,
)

Matrix = npt.NDArray[np.float32]


def stored_width(params: AlsParams) -> int:
    """Returns the columns of a stored row: factors, the bias if there is one, then padding."""
    return -(-(params.rank + params.has_bias) // LANES) * LANES


RowSolver = Callable[[Half, Matrix, int, int], None]
"""Solves rows [start, stop) of a half-iteration in place; the matrix has their last solution."""


def solver_name(params: AlsParams) -> str:
    """Returns the name of the solver; `auto` depends on the rank."""
    if params.solver != "auto":
        return params.solver
    if params.nonnegative:
        return "cholesky"
    if params.rank >= BLOCKS_FROM_RANK:
        return "blocks"
    return "cg" if params.rank >= CG_FROM_RANK else "cholesky"


def work_of_a_column(params: AlsParams) -> int:
    """Returns the multiplications of an iteration per interaction and column of a stored row."""
    name = solver_name(params)
    if name == "cg":
        return 4 * params.cg_steps + 4
    return stored_width(params) if name == "cholesky" else BLOCK_SIZE + 4


def row_solver(params: AlsParams) -> RowSolver:
    """Returns the solver of `solver_name`, with its parameters bound."""
    name = solver_name(params)
    if name == "cg":
        return lambda half, x, start, stop: kernels.solve_cg(half, x, start, stop, params.cg_steps)
    block = BLOCK_SIZE if name == "blocks" else stored_width(params)
    bounded = params.rank if params.nonnegative else 0
    return lambda half, x, start, stop: kernels.solve_blocks(half, x, start, stop, block, bounded)


def prepare_half(rows: Csr, other: Matrix, gram: Matrix, ridge: Matrix, params: AlsParams) -> Half:
    """Returns the problems of one side, given the other side's stored rows and Gram matrix.

    `other` may lack rows that have no interaction in `rows`, but `gram` and `ridge` must cover all
    rows.
    """
    design, offsets = other, np.zeros(len(other), np.float32)
    if params.has_bias:
        design, offsets = other.copy(), other[:, params.rank].copy()
        design[:, params.rank] = 1.0
    explicit, confident = params.feedback == "explicit", params.objective == "hu_koren"
    scalars = (0, 1, 1, 0) if explicit else (params.slope, 0, params.slope, confident)
    data = rows.indptr, rows.columns, rows.values
    return Half(*data, design, offsets, gram, ridge, *map(np.float32, scalars))


def ridges(counts: npt.NDArray[np.int64], others: int, params: AlsParams) -> Matrix:
    """Returns the penalty weight of each row: `regularization * frequency^nu`; see `AlsParams`."""
    frequency = counts.astype(np.float64)
    if params.objective != "hu_koren":
        frequency += params.base_weight * others
    return (params.penalty_weight * frequency**params.nu).astype(np.float32)


def gram(matrix: Matrix, params: AlsParams) -> npt.NDArray[np.float64]:
    """`base_weight * matrix' matrix`, summed in f64 over pieces in a fixed order; 0 x 0 if none."""
    width = matrix.shape[1] if params.base_weight else 0
    total = np.zeros((width, width))
    if width:
        for start in range(0, len(matrix), 4096):
            piece = matrix[start : start + 4096]
            total += piece.T @ piece
    return params.base_weight * total


def solve_half(solve: RowSolver, half: Half, x: Matrix, threads: int) -> None:
    """Solves all rows of `x` in place; threads take pieces of about equal work."""
    on_threads(lambda start, stop: solve(half, x, start, stop), half.indptr, threads)


def objective(half: Half, x: Matrix, threads: int) -> float:
    """The value of the objective, without the penalty of the fixed side."""
    return sum(on_threads(lambda a, b: kernels.sum_losses(half, x, a, b), half.indptr, threads))


def penalty(ridge: Matrix, x: Matrix) -> float:
    """Weighted squared norm of all rows, in f64."""
    return float(ridge.astype(np.float64) @ np.einsum("nk,nk->n", x, x, dtype=np.float64))
