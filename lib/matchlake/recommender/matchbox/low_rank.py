"""Approximates the posterior mean in few columns, with a tolerance for dot products."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from matchlake.engine.csr import Floats
from matchlake.recommender.matchbox.sampler.kernels import Matrix

_ROWS = 4096
_ROUNDING = 1e-10

_Root = tuple[Matrix, Matrix]
"""The matrix R with R R' = rows' rows, and the matrix T with rows @ T orthonormal."""


class Projections(NamedTuple):
    """Maps the factors of users and of items to low-rank ones: (samples * rank, columns)."""

    users: Floats
    items: Floats


def low_rank_of_rows(users: Floats, items: Floats, tolerance: float) -> Projections:
    """Returns the fewest columns whose dot products are within `tolerance`; see `low_rank`."""
    roots = _root_of(users), _root_of(items)
    return _projections(roots, (len(users), len(items)), tolerance)


def low_rank(grams: tuple[Matrix, Matrix], sizes: tuple[int, int], tolerance: float) -> Projections:
    """Computes projections from U'U and V'V, with rows U and V of the sides of `sizes`.

    The tolerance is a root mean square over all pairs. R_u and R_v are roots of the Gram matrices.
    R_u' R_v has the singular values of U V', so the matrix of all pairs is not needed. The smallest
    singular values are dropped (Eckart and Young 1936).
    """
    return _projections((_root(grams[0]), _root(grams[1])), sizes, tolerance)


def _projections(
    roots: tuple[_Root, _Root], sizes: tuple[int, int], tolerance: float
) -> Projections:
    (left, left_inverse), (right, right_inverse) = roots
    u, values, v = np.linalg.svd(left.T @ right, full_matrices=False)
    energy = np.cumsum(values[::-1] ** 2)[::-1]
    columns = max(1, int(np.sum(energy > tolerance**2 * sizes[0] * sizes[1])))
    scale = np.sqrt(values[:columns])
    return Projections(
        (left_inverse @ (u[:, :columns] * scale)).astype(np.float32),
        (right_inverse @ (v[:columns].T * scale)).astype(np.float32),
    )


def _root_of(rows: Floats) -> _Root:
    """Returns the root of rows' rows, computed from the smaller of rows' rows and rows rows'."""
    if len(rows) >= rows.shape[1]:
        return _root(_gram(rows))
    exact = rows.astype(np.float64)
    values, vectors = np.linalg.eigh(exact @ exact.T)
    significant = _significant(values)
    root = exact.T @ vectors[:, significant]
    return root, root / values[significant]


def _gram(rows: Floats) -> Matrix:
    total = np.zeros((rows.shape[1], rows.shape[1]))
    for start in range(0, len(rows), _ROWS):
        piece = rows[start : start + _ROWS].astype(np.float64)
        total += piece.T @ piece
    return total


def _root(gram: Matrix) -> _Root:
    values, vectors = np.linalg.eigh(gram)
    significant = _significant(values)
    roots = np.sqrt(values[significant])
    return vectors[:, significant] * roots, vectors[:, significant] / roots


def _significant(values: Matrix) -> npt.NDArray[np.bool_]:
    """Returns which ascending eigenvalues exceed rounding errors."""
    return np.asarray(values > _ROUNDING * max(values[-1], _ROUNDING))
