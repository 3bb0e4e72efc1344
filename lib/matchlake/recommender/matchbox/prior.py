"""The prior of one side's rows, drawn from nothing but sums over the rows.

Blocks that hold a part of the rows each add up the same sums, and so draw the same prior.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from matchlake.recommender.matchbox.kernels import Matrix
from matchlake.recommender.matchbox.links import Features, LinkSolver

MEAN_STRENGTH = 2.0
"""Rows that the prior of `mean`, N(0, (2 precision)^-1), counts as."""


@dataclass(frozen=True)
class Prior:
    """Rows are N(mean + x @ links, precision^-1), x being the row's features.

    `mean` has shape (columns,), `precision` (columns, columns), `links` (features, columns);
    `scale` is the prior precision of the links, in units of `precision`.
    """

    mean: Matrix
    precision: Matrix
    links: Matrix
    scale: float

    def means(self, features: Features | None, rows: int) -> Matrix:
        """Prior means of all rows, (rows, columns)."""
        if features is None:
            return np.tile(self.mean, (rows, 1))
        return self.mean + features.times(self.links)


@dataclass(frozen=True)
class Moments:
    """Sums over a side's rows Z: how many, sum z, Z'Z and X'Z."""

    rows: int
    total: Matrix
    square: Matrix
    cross: Matrix

    @staticmethod
    def of(rows: npt.NDArray[np.float32], features: Features | None) -> "Moments":
        """The sums over `rows` (rows, columns)."""
        exact = rows.astype(np.float64)
        none = np.zeros((0, rows.shape[1]))
        cross = none if features is None else features.transposed_times(exact)
        return Moments(len(rows), exact.sum(axis=0), exact.T @ exact, cross)


def first_prior(columns: int, features: int) -> Prior:
    """Where the chain starts: small rows around zero, no links."""
    links = np.zeros((features, columns))
    return Prior(np.zeros(columns), 10.0 * np.eye(columns), links, 1.0)


def draw_prior(
    moments: Moments, solver: LinkSolver | None, last: Prior, chance: np.random.Generator
) -> Prior:
    """Draws precision, mean, links and their scale, each given all the others and the rows.

    With R = Z - X links, r its mean, S its centred scatter, K columns, n rows and D features:
    precision ~ Wishart((I + S + 2n/(n+2) rr' + scale links'links)^-1, K + n + D),
    mean ~ N(n r/(n+2), ((n+2) precision)^-1),
    links ~ matrix normal((X'X + scale I)^-1 X'(Z - mean), (X'X + scale I)^-1, precision^-1),
    scale ~ Gamma(1/2 + D K/2, rate 1/2 + tr(links precision links')/2).
    """
    columns, count = len(moments.total), moments.rows
    total, square = moments.total, moments.square
    links, scale = last.links, last.scale
    if solver is not None:
        total = total - solver.sums @ links
        crossed = moments.cross.T @ links
        square = square - crossed - crossed.T + solver.quadratic(links)
    spread = np.eye(columns) + square + scale * links.T @ links
    spread -= np.outer(total, total) / (count + MEAN_STRENGTH)
    precision, root = draw_wishart(spread, columns + count + len(links), chance)
    noise = chance.standard_normal(columns) @ root / np.sqrt(count + MEAN_STRENGTH)
    mean = total / (count + MEAN_STRENGTH) + noise
    if solver is not None:
        target = moments.cross - np.outer(solver.sums, mean)
        drawn = chance.standard_normal((solver.noise_rows, columns)) @ root
        links = solver.draw(target, scale, drawn)
        energy = float(np.einsum("dk,kl,dl->", links, precision, links))
        shape, rate = (1.0 + links.size) / 2, (1.0 + energy) / 2
        scale = chance.gamma(shape) / rate
    return Prior(mean, precision, links, scale)


def draw_wishart(
    spread: Matrix, freedom: float, chance: np.random.Generator
) -> tuple[Matrix, Matrix]:
    """A Wishart(spread^-1, freedom) matrix P, and F with F'F = P^-1 (Bartlett's decomposition)."""
    size = len(spread)
    lower = np.linalg.cholesky(spread)
    bartlett = np.tril(chance.standard_normal((size, size)), -1)
    bartlett[np.diag_indices(size)] = np.sqrt(chance.chisquare(freedom - np.arange(size)))
    root = np.linalg.solve(bartlett, lower.T)
    half = np.linalg.inv(root)
    return half @ half.T, root
