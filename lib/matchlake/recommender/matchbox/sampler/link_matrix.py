"""Side features of one side and the link matrix that maps them to prior means.

Links are drawn with the mean of the rows integrated out. Features such as a year between 0 and 1,
or one category per row, are nearly collinear with the mean. So links and mean would hardly move if
they were drawn in turn. There are n rows, s = X'1, and the prior of the mean is N(0, (2
precision)^-1). Without the mean, G = X'X - s s'/(n + 2) takes the place of X'X.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from matchlake.engine.csr import Csr
from matchlake.engine.threads import on_threads
from matchlake.recommender.matchbox.sampler.kernels import Matrix, Sparse, sparse_times_dense
from matchlake.recommender.matchbox.sampler.link_scales import ScaleDraws

Widths = npt.NDArray[np.int64]

DENSE_UP_TO = 8192
"""Maximum number of features to decompose X'X: 512 MiB, and minutes of one core."""

MEAN_STRENGTH = 2.0
"""The weight of the mean's prior, N(0, (2 precision)^-1), as a number of rows."""

_CLOSE, _STEPS = 1e-6, 200
"""Conjugate gradients stop at this residual over target, or after this many steps."""


class Source(NamedTuple):
    """Adjacent features from one column, or the history; their links have one scale."""

    name: str
    width: int


class Links(NamedTuple):
    """Links (features, columns), the scale of each source's links, and `scatter`, links'G links."""

    links: Matrix
    scales: Matrix
    scatter: Matrix


class LinkSolver(Protocol):
    """Draws links, given everything except the mean; `sums` has the features' sums over the rows.

    `widths` counts the features of each source; `noise_rows` is the number of noise rows of a draw.
    """

    @property
    def widths(self) -> Widths:
        """The number of features per source."""

    @property
    def sums(self) -> Matrix:
        """Sum of each feature."""

    @property
    def noise_rows(self) -> int:
        """Rows of noise for `draw`."""

    def draw(self, last: Links, target: Matrix, noise: Matrix, draws: ScaleDraws | None) -> Links:
        """Links after `last`, and their scales: one step of a chain that keeps the posterior.

        Given the scales, links have mean (G + L)^-1 target and row covariance (G + L)^-1. L is
        diagonal: it has, per feature, the scale of the feature's source. Without `draws` the scales
        stay as they are.
        """


@dataclass(frozen=True)
class Features:
    """Feature rows X of one side: (rows, features), sparse.

    `named` lists the sources of the features, in their order; by default there is one source.
    """

    rows: Csr
    threads: int = 1
    named: tuple[Source, ...] = ()

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
        """X'X, dense, computed for some features at a time."""
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
        """Returns the solver of links: it decomposes X'X, or is iterative if X'X is large."""
        if self.count > DENSE_UP_TO:
            return Iterative.of(self)
        return Spectra.of(self.gram(), self.sums(), self.rows.rows, self.widths, self.threads)

    @property
    def sources(self) -> tuple[Source, ...]:
        """The sources of the features."""
        return self.named or (Source("features", self.count),)

    @property
    def widths(self) -> Widths:
        """The number of features per source."""
        return widths_of(self.sources)


def _multiply(sparse: Csr, dense: Matrix, threads: int) -> Matrix:
    out = np.empty((sparse.rows, dense.shape[1]))
    left = Sparse(sparse.indptr, sparse.columns, sparse.values)
    right = np.ascontiguousarray(dense)
    work: Callable[[int, int], None] = lambda a, b: sparse_times_dense(left, right, a, b, out)  # noqa: E731
    on_threads(work, sparse.indptr, threads)
    return out


def widths_of(sources: Iterable[Source]) -> Widths:
    """The number of features per source."""
    return np.array([source.width for source in sources], np.int64)


@dataclass(frozen=True)
class Spectra:
    """G of the features; the part of each source is decomposed as V S V' once for all sweeps.

    Links are drawn source by source; a draw is conditional on the links of all other sources.
    """

    centred: Matrix
    sums: Matrix
    widths: Widths
    spectra: tuple[tuple[Matrix, Matrix], ...]
    threads: int = 1

    @staticmethod
    def of(gram: Matrix, sums: Matrix, rows: int, widths: Widths, threads: int = 1) -> "Spectra":
        """The spectra of G, from X'X and the number of rows; no rounding error below zero."""
        centred, spectra = gram - np.outer(sums, sums) / (rows + MEAN_STRENGTH), []
        for part in _parts(widths):
            values, vectors = np.linalg.eigh(centred[part, part])
            spectra.append((np.maximum(values, 0.0), vectors))
        return Spectra(centred, sums, widths, tuple(spectra), threads)

    @property
    def noise_rows(self) -> int:
        """One row per feature."""
        return len(self.sums)

    def draw(self, last: Links, target: Matrix, noise: Matrix, draws: ScaleDraws | None) -> Links:
        """For each source its scale, then (G + scale I)^-1 left + (G + scale I)^-1/2 noise.

        `left` is the target without the links of all other sources. Rotated by V, the noise has
        the same distribution.
        """
        links, scales, parts = last.links.copy(), last.scales.copy(), _parts(self.widths)
        scatter = np.zeros((links.shape[1], links.shape[1]))
        for number, (part, (values, vectors)) in enumerate(zip(parts, self.spectra, strict=True)):
            left = target[part].copy()
            for other in parts:
                if other != part:
                    left -= self.centred[part, other] @ links[other]
            turned = _product(vectors.T, left, self.threads)
            if draws is not None:
                scales[number] = draws.given_rows(values, turned)
            shrunk = (values + scales[number])[:, None]
            drawn = turned / shrunk + noise[part] / np.sqrt(shrunk)
            links[part] = _product(vectors, drawn, self.threads)
            scatter += drawn.T @ (values[:, None] * drawn)
            for before in parts[:number]:
                crossed = links[before].T @ (self.centred[before, part] @ links[part])
                scatter += crossed + crossed.T
        return Links(links, scales, scatter)


def _product(left: Matrix, right: Matrix, threads: int) -> Matrix:
    """Multiplies by rows, on threads, because BLAS has one thread in a Spark task."""
    out = np.empty((len(left), right.shape[1]))

    def work(start: int, stop: int) -> None:
        np.matmul(left[start:stop], right, out=out[start:stop])

    on_threads(work, np.arange(len(left) + 1), threads)
    return out


def _parts(widths: Widths) -> list[slice]:
    """The features of each source."""
    ends = np.cumsum(widths)
    return [slice(int(end - width), int(end)) for end, width in zip(ends, widths, strict=True)]


@dataclass(frozen=True)
class Iterative:
    """G applied through the sparse rows, never built: for hundreds of thousands of features.

    A draw solves (G + L) links = target + X'C^1/2 E1 + L^1/2 E2 by conjugate gradients, scaled by
    the diagonal (Macau, Simm et al. 2017). All columns and all sources are solved at once. Here
    G = X'C X, so C = I - 1 1'/(n + 2) and C^1/2 = I - 1 1' (1 - sqrt(2 / (n + 2))) / n.
    """

    features: Features
    diagonal: Matrix
    sums: Matrix
    widths: Widths

    @staticmethod
    def of(features: Features) -> "Iterative":
        """Prepares the solver for `features`, in one pass over the rows."""
        squares = features.rows.values.astype(np.float64) ** 2
        diagonal: Matrix = np.bincount(features.rows.columns, squares, features.count).astype(float)
        sums = features.sums()
        diagonal -= sums**2 / (features.rows.rows + MEAN_STRENGTH)
        return Iterative(features, diagonal, sums, features.widths)

    @property
    def noise_rows(self) -> int:
        """One row per feature, then one per row."""
        return self.features.count + self.features.rows.rows

    def draw(self, last: Links, target: Matrix, noise: Matrix, draws: ScaleDraws | None) -> Links:
        """As `LinkSolver.draw`; `noise` has the rows of E2, then those of E1."""
        count, each = self.features.count, np.repeat(last.scales, self.widths)[:, None]
        ones = noise[count:]
        shrunk = (1.0 - np.sqrt(MEAN_STRENGTH / (len(ones) + MEAN_STRENGTH))) / max(len(ones), 1)
        moved = target + self.features.transposed_times(ones)
        moved -= np.outer(self.sums, shrunk * ones.sum(axis=0))
        links, scales = self._solve(moved + np.sqrt(each) * noise[:count], each), last.scales
        if draws is not None:
            parts = _parts(self.widths)
            scales = np.array([draws.given_links(links[part]) for part in parts])
        return Links(links, scales, links.T @ self._times(links))

    def _times(self, links: Matrix) -> Matrix:
        """G links."""
        means = self.sums @ links / (self.features.rows.rows + MEAN_STRENGTH)
        whole = self.features.transposed_times(self.features.times(links))
        return whole - np.outer(self.sums, means)

    def _solve(self, target: Matrix, scales: Matrix) -> Matrix:
        weights = 1.0 / (self.diagonal[:, None] + scales)
        links = np.zeros_like(target)
        residual = target.copy()
        pace = weights * residual
        energy = np.einsum("dk,dk->k", residual, pace)
        goal = _CLOSE * np.linalg.norm(target, axis=0)
        for _ in range(_STEPS):
            if (np.linalg.norm(residual, axis=0) <= goal).all():
                break
            along = self._times(pace) + scales * pace
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
