"""Side features of one side and the link matrix that maps them to prior means."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from matchlake.recommender.blocks import Csr
from matchlake.recommender.matchbox.kernels import Matrix, Sparse, sparse_times_dense
from matchlake.recommender.matchbox.threads import on_threads


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
    def spectrum(self) -> "Spectrum":
        """The decomposition of X'X."""
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

    def quadratic(self, links: Matrix) -> Matrix:
        """The quadratic form of X'X in links."""
        turned = self.vectors.T @ links
        return turned.T @ (self.values[:, None] * turned)

    def draw(self, target: Matrix, scale: float, noise: Matrix) -> Matrix:
        """(X'X + scale I)^-1 target + (X'X + scale I)^-1/2 noise."""
        shrunk = (self.values + scale)[:, None]
        turned = (self.vectors.T @ target) / shrunk + (self.vectors.T @ noise) / np.sqrt(shrunk)
        return self.vectors @ turned
