"""The prior of one side's rows, drawn from sums over the rows alone.

Blocks that each hold some rows add up the same sums, so the prior is the same.
"""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from matchlake.recommender.matchbox.sampler.kernels import Matrix
from matchlake.recommender.matchbox.sampler.link_matrix import (
    MEAN_STRENGTH,
    Features,
    Links,
    LinkSolver,
)
from matchlake.recommender.matchbox.sampler.link_scales import ScaleDraws


@dataclass(frozen=True)
class Prior:
    """Rows are N(mean + x @ links, precision^-1), x being the row's features.

    `mean` has shape (columns,), `precision` (columns, columns), `links` (features, columns);
    `scales` (sources,) is the prior precision of each source's links, in units of `precision`;
    `scatter` (columns, columns) is links'G links, for the next draw; empty if there is none.
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
    """Draws precision, links with their scales, and mean, given the rows.

    There are K columns, n rows Z and D features X. L is the diagonal matrix of the features'
    scales; G is that of `link_matrix`. C is I - 1 1'/(n+2), which leaves out the mean: precision
    and links are drawn with the mean integrated out, and the mean is drawn last.

    precision ~ Wishart((I + (Z - X links)'C (Z - X links) + links'L links)^-1, K + n + D),
    links ~ matrix normal((G + L)^-1 X'C Z, (G + L)^-1, precision^-1),
    mean ~ N((Z - X links)'1 / (n+2), ((n+2) precision)^-1).

    The scales: see `ScaleDraws`. If `solver` can, the links of a scale's source are integrated out.
    """
    columns, count = len(moments.total), moments.rows + MEAN_STRENGTH
    total, links, scales = moments.total, last.links, last.scales
    spread = np.eye(columns) + moments.square - np.outer(total, total) / count
    target, scatter = moments.cross, last.scatter
    if solver is not None:
        target = target - np.outer(solver.sums, total / count)
        crossed = target.T @ links
        spread += scatter - crossed - crossed.T
        spread += links.T @ (np.repeat(scales, solver.widths)[:, None] * links)
    precision, root = draw_wishart(spread, columns + moments.rows + len(links), chance)
    noise = chance.standard_normal(columns) @ root / np.sqrt(count)
    if solver is not None:
        drawn = chance.standard_normal((solver.noise_rows, columns)) @ root
        draws = ScaleDraws(precision, chance)
        links, scales, scatter = solver.draw(Links(links, scales, scatter), target, drawn, draws)
        total = total - solver.sums @ links
    return Prior(total / count + noise, precision, links, scales, scatter)


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
