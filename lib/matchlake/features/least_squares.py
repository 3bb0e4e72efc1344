"""Least squares: a simple learner for `compare_split`."""

import numpy as np
import pandas as pd

from matchlake.features.per_category import Predictor

_RIDGE = 1e-3


def least_squares(rows: pd.DataFrame, label: pd.Series) -> Predictor:
    """A linear fit with an intercept, and a small ridge for columns that depend on each other."""
    x = _with_intercept(rows)
    left = x.T @ x + _RIDGE * np.eye(x.shape[1])
    weights = np.linalg.solve(left, x.T @ label.to_numpy(dtype=np.float64))
    return lambda others: _with_intercept(others) @ weights


def _with_intercept(rows: pd.DataFrame) -> np.ndarray:
    numbers = rows.select_dtypes("number").to_numpy(dtype=np.float64, na_value=0.0)
    return np.column_stack([numbers, np.ones(len(rows))])
