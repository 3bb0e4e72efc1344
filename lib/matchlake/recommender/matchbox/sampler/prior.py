"""The prior of one side's rows, drawn from sums over the rows alone.

Blocks that each hold some rows add up the same sums, so the prior is the same.
"""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from matchlake.recommender.matchbox.sampler.kernels import Matrix
from matchlake.recommender.matchbox.sampler.link_matrix import Features, Links, LinkSolver
from matchlake.recommender.matchbox.sampler.link_scales import ScaleDraws

MEAN_STRENGTH = 2.0
"""The weight of the prior of `mean`, N(0, (2 precision)^-1), in rows."""


@dataclass(frozen=True)
class Prior:
    """Rows are N(mean + x @ links, precision^-1), x being the row's features.

    `mean` has shape (columns,), `precision` (columns, columns), `links` (features, columns);
    `scales` (sources,) is the prior precision of each source's links, in units of `precision`;
    `scatter` (columns, columns) is links'X'X links, for the next draw; empty if there is none.
    """

    mean: Matrix
    precision: Matrix
    links: Matrix
    scales: Matrix
    scatter: Matrix = field(default_factory=lambda: np.zeros((0, 0)))

    def means(self, features: Features | None, rows: int) -> Matrix:
        """Prior means of all rows, (rows, columns)."""
        if features is None:
            return np.tile(self.mean, (rows, 1))
        return self.mean + features.times(self.links)


@dataclass(frozen=True)
class Moments:
    """Sums over a side's rows Z: their number, sum z, Z'Z and X'Z."""

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


def first_prior(columns: int, solver: LinkSolver | None = None) -> Prior:
    """The prior at the start of a chain: small rows around zero, no links."""
    widths = np.zeros(0, np.int64) if solver is None else solver.widths
    links = np.zeros((int(widths.sum()), columns))
    nothing = np.zeros((columns, columns))
    return Prior(np.zeros(columns), 10.0 * np.eye(columns), links, np.ones(len(widths)), nothing)


def draw_prior(
    moments: Moments, solver: LinkSolver | None, last: Prior, chance: np.random.Generator
) -> Prior:
    """Draws precision, mean, links and their scales, each given all the others and the rows.

    R = Z - X links has the mean r and the centred scatter S. There are K columns, n rows and D
    features; L is the diagonal matrix of the features' scales:

    precision ~ Wishart((I + S + 2n/(n+2) rr' + links'L links)^-1, K + n + D),
    mean ~ N(n r/(n+2), ((n+2) precision)^-1),
    links ~ matrix normal((X'X + L)^-1 X'(Z - mean), (X'X + L)^-1, precision^-1).

    The scales: see `ScaleDraws`. If `solver` can, the links of a scale's source are integrated out.
    """
    columns, count = len(moments.total), moments.rows
    total, square = moments.total, moments.square
    links, scales, scatter = last.links, last.scales, last.scatter
    if solver is not None:
        total = total - solver.sums @ links
        crossed = moments.cross.T @ links
        square = square - crossed - crossed.T + scatter
        square += links.T @ (np.repeat(scales, solver.widths)[:, None] * links)
    spread = np.eye(columns) + square
    spread -= np.outer(total, total) / (count + MEAN_STRENGTH)
    precision, root = draw_wishart(spread, columns + count + len(links), chance)
    noise = chance.standard_normal(columns) @ root / np.sqrt(count + MEAN_STRENGTH)
    mean = total / (count + MEAN_STRENGTH) + noise
    if solver is not None:
        target = moments.cross - np.outer(solver.sums, mean)
        drawn = chance.standard_normal((solver.noise_rows, columns)) @ root
        draws = ScaleDraws(precision, chance)
        links, scales, scatter = solver.draw(Links(links, scales, scatter), target, drawn, draws)
    return Prior(mean, precision, links, scales, scatter)


def draw_wishart(
    scale_inverse: Matrix, freedom: float, chance: np.random.Generator
) -> tuple[Matrix, Matrix]:
    """A Wishart(spread^-1, freedom) matrix P, and F with F'F = P^-1 (Bartlett's decomposition)."""
    size = len(scale_inverse)
    lower = np.linalg.cholesky(scale_inverse)
    bartlett = np.tril(chance.standard_normal((size, size)), -1)
    bartlett[np.diag_indices(size)] = np.sqrt(chance.chisquare(freedom - np.arange(size)))
    root = np.linalg.solve(bartlett, lower.T)
    half = np.linalg.inv(root)
    return half @ half.T, root
