"""Draws the scales of the links of one source.

A scale is the prior precision of the links, relative to that of the factor rows. The prior of a
scale is Gamma(1/2, rate 1/2).
"""

from dataclasses import dataclass

import numpy as np

from matchlake.recommender.matchbox.sampler.kernels import Matrix

_SHAPE = _RATE = 0.5
_ENDS = -20.0, 12.0
"""Range of the logarithm of a scale: its prior has less than 1e-4 below, and nothing above."""

_POINTS, _ZOOMS, _DEPTH = 65, 4, 30.0
"""Points of a grid; times it is narrowed, to a density of exp(-_DEPTH) of the peak."""

_ROUNDING = 1e-9


@dataclass(frozen=True)
class ScaleDraws:
    """Draws scales for rows of this `precision`."""

    precision: Matrix
    chance: np.random.Generator

    def given_links(self, links: Matrix) -> float:
        """A scale given its links (features, columns), a Gamma."""
        energy = float(np.sum((links @ self.precision) * links))
        return self.chance.gamma(_SHAPE + links.size / 2) / (_RATE + energy / 2)

    def given_rows(self, values: Matrix, turned: Matrix) -> float:
        """A scale given the rows, its links integrated out.

        `values` S and V are the eigenvalues and vectors of the source's X'X; `turned` is V'X' rest,
        with the rest of the rows after the prior's other parts. So turned_j / sqrt(S_j) is
        N(0, (1 + S_j / scale) precision^-1). Given its links, a scale of thousands of features
        hardly moves from sweep to sweep; with the links integrated out, draws are independent. The
        links must be drawn next.
        """
        significant = values > _ROUNDING * max(values[-1], _ROUNDING)
        energies = (
            np.sum((turned[significant] @ self.precision) * turned[significant], axis=1)
            / values[significant]
        )
        log_density = _LogDensity(values[significant], energies, turned.shape[1])
        return float(np.exp(_inverse_of(log_density, self.chance.random())))


@dataclass(frozen=True)
class _LogDensity:
    """The logarithm of a scale's density, at logarithms of the scale."""

    values: Matrix
    energies: Matrix
    columns: int

    def __call__(self, at: Matrix) -> Matrix:
        scale = np.exp(at)[:, None]
        grown = np.log1p(self.values / scale).sum(axis=1)
        energy = (self.energies * (scale / (scale + self.values))).sum(axis=1)
        prior = _SHAPE * at - _RATE * scale[:, 0]
        return np.asarray(prior - (self.columns * grown + energy) / 2)


def _inverse_of(log_density: _LogDensity, share: float) -> float:
    """The `share` quantile of a density, by trapezoids on a grid around its peak."""
    points = np.linspace(*_ENDS, _POINTS)
    for zoom in range(_ZOOMS + 1):
        heights = log_density(points)
        high = np.flatnonzero(heights > heights.max() - _DEPTH)
        first, last = max(high[0] - 1, 0), min(high[-1] + 1, len(points) - 1)
        if zoom < _ZOOMS:
            points = np.linspace(points[first], points[last], _POINTS)
    density = np.exp(heights - heights.max())
    areas = np.concatenate([[0.0], np.cumsum((density[1:] + density[:-1]) / 2)])
    return float(np.interp(share * areas[-1], areas, points))
