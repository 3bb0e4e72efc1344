"""Nonnegative solves against SciPy's active set, on systems from good to badly conditioned."""

import numpy as np
import pytest
from scipy.optimize import nnls

from matchlake.engine.simd import LANES
from matchlake.recommender.als.nonnegative import solve_bounded


def value(matrix: np.ndarray, right: np.ndarray, x: np.ndarray) -> float:
    return float(x @ matrix @ x / 2 - right @ x)


@pytest.mark.parametrize("condition", [1.0, 1e2, 1e4, 1e5])
@pytest.mark.parametrize("size", [LANES, 4 * LANES])
def test_the_objective_is_that_of_an_active_set(condition: float, size: int) -> None:
    rng = np.random.default_rng(int(condition) + size)
    for _ in range(20):
        turn = np.linalg.qr(rng.normal(size=(size, size)))[0]
        root = turn * np.sqrt(np.geomspace(1, 1 / condition, size))
        design = (root @ np.linalg.qr(rng.normal(size=(size, size)))[0]).T
        goal = design @ np.maximum(rng.normal(size=size), 0) + 0.3 * rng.normal(size=size)
        matrix, right = design.T @ design, design.T @ goal
        expected = value(matrix, right, nnls(design, goal, maxiter=50 * size)[0])
        for start in (np.zeros(size), np.abs(rng.normal(size=size))):
            x = start.astype(np.float32)
            residual = (right - matrix @ x).astype(np.float32)
            solve_bounded(np.triu(matrix).astype(np.float32).ravel(), residual, x, size)
            assert (x >= 0).all()
            assert value(matrix, right, x.astype(float)) - expected < 1e-4 * abs(expected)


def test_free_columns_may_be_negative_and_undetermined_ones_stay() -> None:
    matrix = np.zeros((LANES, LANES), np.float32)
    matrix[:3, :3] = [[2, 1, 0], [1, 2, 0], [0, 0, 1]]
    right = np.zeros(LANES, np.float32)
    right[:3] = [1, -4, -3]
    x = np.zeros(LANES, np.float32)
    solve_bounded(matrix.ravel(), right.copy(), x, 2)
    assert x[:3] == pytest.approx([0.5, 0, -3])
    assert not x[3:].any()
