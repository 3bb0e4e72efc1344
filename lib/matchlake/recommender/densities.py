"""Who is rated like whom: the density that a random entity of the other side rates two alike.

With q a random row of the other side, its mean E[q] and covariance Cov(q), the difference of two
ratings by q is N(m, v): m the difference of biases plus the difference d of factors . E[q], and
v = 2 noise + d' Cov(q) d. The score is the logarithm of its density at zero, so that shared
dislikes count as shared likes do. (Infer.NET's Matchbox takes E[q] = 0 and the prior's variance.)
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from matchlake.engine.csr import Floats

_FLAT = 1e-9

Matrix = npt.NDArray[np.float64]


class Geometry(NamedTuple):
    """Maps factors to a space where squared distance is d' Cov(q) d; `centre` is E[q]."""

    root: Floats
    centre: Floats
    noise: float

    @staticmethod
    def of(count: float, total: Matrix, square: Matrix, noise: float) -> "Geometry":
        """From how many rows q there are, their sum and the sum of their products."""
        mean = total / count
        values, vectors = np.linalg.eigh(square / count - np.outer(mean, mean))
        root = vectors * np.sqrt(np.maximum(values, 0.0))
        return Geometry(root.astype(np.float32), mean.astype(np.float32), noise)

    def placed(self, factors: Floats, bias: Floats) -> tuple[Floats, Floats]:
        """Rows as `log_densities` takes them: in this space, and their expected scores."""
        levels: Floats = (bias + factors @ self.centre).astype(np.float32)
        return factors @ self.root, levels


def log_densities(
    rows: Floats, levels: Floats, others: Floats, other_levels: Floats, noise: float
) -> Floats:
    """Log density of equal ratings, (rows, others); see above."""
    squares = (rows**2).sum(axis=1)[:, None] + (others**2).sum(axis=1)[None]
    distance = np.maximum(squares - 2.0 * (rows @ others.T), 0.0)
    variance = np.maximum(2.0 * noise + distance, _FLAT)
    away = levels[:, None] - other_levels[None]
    density: Floats = -0.5 * (np.log(2.0 * np.pi * variance) + away**2 / variance)
    return density.astype(np.float32)
