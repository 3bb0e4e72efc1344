"""The baselines anew, on dense NumPy matrices, and what any of them has to recommend."""

from collections.abc import Collection

import numpy as np
import numpy.typing as npt

Matrix = npt.NDArray[np.float64]


def biases(ratings: Matrix, user_ridge: float, item_ridge: float) -> tuple[float, Matrix, Matrix]:
    """Mean and the exact least squares solution for both sides; NaN stands for no rating."""
    users, items = np.nonzero(~np.isnan(ratings))
    mean = float(ratings[users, items].mean())
    width = ratings.shape[0] + ratings.shape[1]
    design = np.zeros((len(users), width))
    design[np.arange(len(users)), users] = 1
    design[np.arange(len(users)), ratings.shape[0] + items] = 1
    ridge = np.diag([user_ridge] * ratings.shape[0] + [item_ridge] * ratings.shape[1])
    solution = np.linalg.solve(design.T @ design + ridge, design.T @ (ratings[users, items] - mean))
    return mean, solution[: ratings.shape[0]], solution[ratings.shape[0] :]


def ease_weights(values: Matrix, regularization: float | Matrix) -> Matrix:
    """Column i: ridge regression of item i on all other items, one system at a time.

    `regularization` is one penalty, or one per item.
    """
    size = values.shape[1]
    penalties = np.broadcast_to(regularization, size)
    weights = np.zeros((size, size))
    for target in range(size):
        others = [item for item in range(size) if item != target]
        design = values[:, others]
        gram = design.T @ design + np.diag(penalties[others])
        weights[others, target] = np.linalg.solve(gram, design.T @ values[:, target])
    return weights


def best(
    scores: Matrix, k: int, *, without: Collection[int] = (), among: Collection[int] | None = None
) -> list[int]:
    """Places of the k highest scores, ties by place."""
    allowed = set(range(len(scores)) if among is None else among) - set(without)
    return sorted(allowed, key=lambda place: (-scores[place], place))[:k]
