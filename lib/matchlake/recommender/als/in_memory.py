"""Fits in the memory of one machine: initial rows, then alternating half-iterations."""

import logging
import time
from dataclasses import dataclass, field

import numba
import numpy as np
import numpy.typing as npt

from matchlake.engine.counter_rng import normals
from matchlake.engine.csr import Csr
from matchlake.recommender.als.kernels import Half
from matchlake.recommender.als.params import AlsParams
from matchlake.recommender.als.solver import (
    Matrix,
    gram,
    objective,
    penalty,
    prepare_half,
    ridges,
    row_solver,
    solve_half,
    stored_width,
)
from matchlake.recommender.sides import ITEM, USER

_log = logging.getLogger(__name__)


@dataclass
class Fitted:
    """Stored rows of both sides, seconds of each iteration, and the loss after the last one."""

    users: Matrix
    items: Matrix
    loss: float = float("nan")
    seconds: list[float] = field(default_factory=list)


def initial_rows(side: int, rows: npt.NDArray[np.int64], params: AlsParams) -> Matrix:
    """Initial stored rows of one side for the given indices: normal factors, zero bias.

    A number depends only on (seed, side, index, column), so all executions start from the same
    rows.
    """
    matrix = np.zeros((len(rows), stored_width(params)), np.float32)
    scale = np.float32(params.init_std / params.rank**0.5)
    matrix[:, : params.rank] = scale * normals(params.seed, side, rows, params.rank)
    if params.nonnegative:
        np.abs(matrix, out=matrix)
    return matrix


def fit_rows(rows: Csr, params: AlsParams, start: Fitted | None = None) -> Fitted:
    """Fits users x items held in memory, from `start` (changed in place) or the initial rows.

    With biases the values must be centred.
    """
    columns = rows.transpose()
    fitted = start or Fitted(
        initial_rows(USER, np.arange(rows.rows), params),
        initial_rows(ITEM, np.arange(columns.rows), params),
    )
    threads = params.threads or numba.config.NUMBA_NUM_THREADS
    solve = row_solver(params)
    for iteration in range(params.iterations):
        begin = time.perf_counter()
        for side, fixed, part in (
            (fitted.users, fitted.items, rows),
            (fitted.items, fitted.users, columns),
        ):
            half = _half(part, fixed, params)
            solve_half(solve, half, side, threads)
        fitted.seconds.append(time.perf_counter() - begin)
        _log.debug("iteration %d took %.3f s", iteration + 1, fitted.seconds[-1])
    fitted.loss = objective(_half(columns, fitted.users, params), fitted.items, threads)
    fitted.loss += penalty(ridges(rows.counts(), columns.rows, params), fitted.users)
    return fitted


def _half(part: Csr, fixed: Matrix, params: AlsParams) -> Half:
    shared = gram(fixed, params).astype(np.float32)
    return prepare_half(part, fixed, shared, ridges(part.counts(), len(fixed), params), params)
