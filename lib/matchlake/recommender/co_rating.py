"""Co-rating similarity: the density of equal ratings of two items by a random user, or vice versa.

With q a random row of the other side, its mean E[q] and covariance Cov(q), the difference of two
ratings by q is N(m, v). m is the difference of biases plus d . E[q], with d the difference of
factors, and v = 2 noise + d' Cov(q) d. The score is the logarithm of its density at zero: so shared
dislikes count as much as shared likes. (Infer.NET's Matchbox uses E[q] = 0 and the variance of the
prior.) Lists show this score as a distance in units of a rating, see `distances`.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from matchlake.engine.csr import Floats

_MIN_VARIANCE = 1e-9

Matrix = npt.NDArray[np.float64]


class CoRatingMetric(NamedTuple):
    """Maps factors to a space with squared distance d' Cov(q) d; `centre` is E[q]."""

    root: Floats
    centre: Floats
    noise: float

    @staticmethod
    def of(count: float, total: Matrix, square: Matrix, noise: float) -> "CoRatingMetric":
        """Makes the metric from the number, the sum and the outer products of rows q."""
        mean = total / count
        values, vectors = np.linalg.eigh(square / count - np.outer(mean, mean))
        root = vectors * np.sqrt(np.maximum(values, 0.0))
        return CoRatingMetric(root.astype(np.float32), mean.astype(np.float32), noise)

    def project(self, factors: Floats, bias: Floats) -> tuple[Floats, Floats]:
        """Returns rows in this space, and their expected scores."""
        levels: Floats = (bias + factors @ self.centre).astype(np.float32)
        return factors @ self.root, levels


def log_densities(
    rows: Floats, levels: Floats, others: Floats, other_levels: Floats, noise: float
) -> Floats:
    """Returns log densities of equal ratings, shape (rows, others); see the module."""
    squares = (rows**2).sum(axis=1)[:, None] + (others**2).sum(axis=1)[None]
    distance = np.maximum(squares - 2.0 * (rows @ others.T), 0.0)
    variance = np.maximum(2.0 * noise + distance, _MIN_VARIANCE)
    difference = levels[:, None] - other_levels[None]
    density: Floats = -0.5 * (np.log(2.0 * np.pi * variance) + difference**2 / variance)
    return density.astype(np.float32)


def distances(densities: Floats, noise: float) -> Floats:
    """Converts log densities to distances in units of a rating; 0 for equal expected ratings.

    The distance is the difference of two constant ratings with the same density. If differences are
    small compared with the noise, it is `sqrt(E[difference^2])` over random rows q, without noise.
    """
    largest = -0.5 * np.log(4.0 * np.pi * noise)
    squares = 4.0 * noise * np.maximum(largest - densities.astype(np.float64), 0.0)
    found: Floats = np.sqrt(squares).astype(np.float32)
    return found
