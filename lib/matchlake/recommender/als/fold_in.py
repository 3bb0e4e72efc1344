"""Fold-in: computes the row of a new or changed user (or item), with the other side fixed.

The row is the exact solution of its least squares problem. A half-iteration of the fit with the
Cholesky solver computes the same row. This module does not need Spark.
"""

from typing import NamedTuple

import numpy as np

from matchlake.engine.csr import Csr
from matchlake.recommender.als.kernels import Half
from matchlake.recommender.als.params import AlsParams
from matchlake.recommender.als.solver import (
    Matrix,
    gram,
    prepare_half,
    ridges,
    row_solver,
    solve_half,
    stored_width,
)
from matchlake.recommender.scaled_weights import scaled_weights


class FixedSide(NamedTuple):
    """The fixed side of a fold-in: stored rows, their Gram matrix, the mean."""

    rows: Matrix
    gram: Matrix
    mean: float
    params: AlsParams


def fixed_side(factors: Matrix, bias: Matrix, mean: float, params: AlsParams) -> FixedSide:
    """Prepares rows of shape (rows, rank) and their biases for any number of fold-ins."""
    rows = np.zeros((len(factors), stored_width(params)), np.float32)
    rows[:, : params.rank] = factors
    if params.has_bias:
        rows[:, params.rank] = bias
    return FixedSide(rows, gram(rows, params).astype(np.float32), mean, params)


def history_problem(histories: Csr, fixed: FixedSide) -> Half:
    """Returns the least squares problems of rows with these histories (ratings not centred)."""
    values = histories.values - np.float32(fixed.mean if fixed.params.has_bias else 0.0)
    values = scaled_weights(values, fixed.params.weight_scale)
    csr = Csr(histories.indptr, histories.columns, values, histories.width)
    ridge = ridges(csr.counts(), len(fixed.rows), fixed.params)
    return prepare_half(csr, fixed.rows, fixed.gram, ridge, fixed.params)


def fold_in(histories: Csr, fixed: FixedSide) -> tuple[Matrix, Matrix]:
    """Returns factors, shape (rows, rank), and biases of rows with these histories."""
    params = fixed.params.model_copy(update={"solver": "cholesky"})
    x = np.zeros((histories.rows, fixed.rows.shape[1]), np.float32)
    solve_half(row_solver(params), history_problem(histories, fixed), x, 1)
    bias = x[:, params.rank].copy() if params.has_bias else np.zeros(len(x), np.float32)
    return x[:, : params.rank], bias
