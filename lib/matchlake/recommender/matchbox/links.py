"""Side features of one side and the link matrix that maps them to prior means."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np

from matchlake.recommender.blocks import Csr
from matchlake.recommender.matchbox.kernels import Matrix, Sparse, sparse_times_dense
from matchlake.recommender.matchbox.threads import on_threads

DENSE_UP_TO = 8192
"""Features up to which X'X is made and decomposed: 512 MiB, and minutes of one core."""

_CLOSE, _STEPS = 1e-6, 200
"""When conjugate gradients stop: residual over target, and at the latest."""


class LinkSolver(Protocol):
    """Draws links given all else; `sums` are the features' sums over the rows.

    `noise_rows` says how many rows of noise a draw takes.
    """

    @property
    def sums(self) -> Matrix:
        """Sum of each feature."""

    @property
    def noise_rows(self) -> int:
        """Rows of noise for `draw`."""

    def quadratic(self, links: Matrix) -> Matrix:
        """The quadratic form of X'X in links."""

    def draw(self, target: Matrix, scale: float, noise: Matrix) -> Matrix:
        """A draw with mean (X'X + scale I)^-1 target and row covariance (X'X + scale I)^-1."""


@dataclass(frozen=True)
class Features:
    """Feature rows X of one side: (rows, features), sparse."""

    rows: Csr
    threads: int = 1

    @property
    def count(self) -> int:
        """Number of features."""
        return self.rows.width

    @cached_property
    def _by_feature(self) -> Csr:
        return self.rows.transpose()

    def times(self, links: Matrix) -> Matrix:
        """X @ links."""
        return _multiply(self.rows, links, self.threads)

    def transposed_times(self, dense: Matrix) -> Matrix:
        """X' @ dense."""
        return _multiply(self._by_feature, dense, self.threads)

    def sums(self) -> Matrix:
        """Sum of each feature over the rows."""
        return self.transposed_times(np.ones((self.rows.rows, 1)))[:, 0]

    def gram(self) -> Matrix:
        """X'X, dense, from a stretch of features at a time."""
        size = self.count
        out = np.empty((size, size))
        for start in range(0, size, 256):
            stop = min(start + 256, size)
            unit = np.zeros((size, stop - start))
            unit[np.arange(start, stop), np.arange(stop - start)] = 1.0
            out[:, start:stop] = self.transposed_times(self.times(unit))
        return out

    @cached_property
    def solver(self) -> "LinkSolver":
        """How links are drawn: by the decomposition of X'X, or without X'X where it is large."""
        if self.count > DENSE_UP_TO:
            return Iterative.of(self)
        return Spectrum.of(self.gram(), self.sums())


def _multiply(sparse: Csr, dense: Matrix, threads: int) -> Matrix:
    out = np.empty((sparse.rows, dense.shape[1]))
    left = Sparse(sparse.indptr, sparse.columns, sparse.values)
    right = np.ascontiguousarray(dense)
    work: Callable[[int, int], None] = lambda a, b: sparse_times_dense(left, right, a, b, out)  # noqa: E731
    on_threads(work, sparse.indptr, threads)
    return out


@dataclass(frozen=True)
class Spectrum:
    """X'X = V S V', decomposed once for all sweeps, and the features' sums over the rows."""

    values: Matrix
    vectors: Matrix
    sums: Matrix

    @staticmethod
    def of(gram: Matrix, sums: Matrix) -> "Spectrum":
        """The spectrum of X'X, whose rounding below zero is taken away."""
        values, vectors = np.linalg.eigh(gram)
        return Spectrum(np.maximum(values, 0.0), vectors, sums)

    @property
    def noise_rows(self) -> int:
        """One a feature."""
        return len(self.sums)

    def quadratic(self, links: Matrix) -> Matrix:
        """The quadratic form of X'X in links."""
        turned = self.vectors.T @ links
        return turned.T @ (self.values[:, None] * turned)

    def draw(self, target: Matrix, scale: float, noise: Matrix) -> Matrix:
        """(X'X + scale I)^-1 target + (X'X + scale I)^-1/2 noise."""
        shrunk = (self.values + scale)[:, None]
        turned = (self.vectors.T @ target) / shrunk + (self.vectors.T @ noise) / np.sqrt(shrunk)
        return self.vectors @ turned


@dataclass(frozen=True)
class Iterative:
    """X'X only ever applied, through the sparse rows: for hundreds of thousands of features.

    A draw solves (X'X + scale I) links = target + X'E1 + sqrt(scale) E2 by conjugate gradients,
    all columns at a time, scaled by the diagonal (Macau, Simm et al. 2017).
    """

    features: Features
    diagonal: Matrix
    sums: Matrix

    @staticmethod
    def of(features: Features) -> "Iterative":
        """For the given rows; one pass over them."""
        squares = features.rows.values.astype(np.float64) ** 2
        diagonal: Matrix = np.bincount(features.rows.columns, squares, features.count).astype(float)
        return Iterative(features, diagonal, features.sums())

    @property
    def noise_rows(self) -> int:
        """One a feature, then one a row."""
        return self.features.count + self.features.rows.rows

    def quadratic(self, links: Matrix) -> Matrix:
        """The quadratic form of X'X in links."""
        scores = self.features.times(links)
        return scores.T @ scores

    def draw(self, target: Matrix, scale: float, noise: Matrix) -> Matrix:
        """As `LinkSolver.draw`; `noise` has the rows of E2, then those of E1."""
        count = self.features.count
        moved = target + self.features.transposed_times(noise[count:])
        return self._solve(moved + np.sqrt(scale) * noise[:count], scale)

    def _solve(self, target: Matrix, scale: float) -> Matrix:
        weights = 1.0 / (self.diagonal + scale)[:, None]
        links = np.zeros_like(target)
        residual = target.copy()
        pace = weights * residual
        energy = np.einsum("dk,dk->k", residual, pace)
        goal = _CLOSE * np.linalg.norm(target, axis=0)
        for _ in range(_STEPS):
            if (np.linalg.norm(residual, axis=0) <= goal).all():
                break
            along = self.features.transposed_times(self.features.times(pace)) + scale * pace
            curved = np.einsum("dk,dk->k", pace, along)
            step = np.divide(energy, curved, out=np.zeros_like(energy), where=curved > 0)
            links += step * pace
            residual -= step * along
            scaled = weights * residual
            last, energy = energy, np.einsum("dk,dk->k", residual, scaled)
            pace = (
                scaled + np.divide(energy, last, out=np.zeros_like(energy), where=last > 0) * pace
            )
        return links
