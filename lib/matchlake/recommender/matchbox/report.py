"""The parts of a fitted posterior besides its rows: priors, shared likelihood, traces."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np

from matchlake.engine.csr import Floats, Ints
from matchlake.engine.packing import Array, pack, unpack
from matchlake.recommender.matchbox.sampler.kernels import Matrix

Trace = Mapping[str, Array]
"""Traced numbers by name, each of shape (chains, sweeps)."""

_TRACE = "trace_"


@dataclass(frozen=True)
class SideReport:
    """The priors of users, items or days in each sample, and the values for rows without ratings.

    `means` (samples, columns), `precisions` (samples, columns, columns), `links` (samples,
    features, columns) and `scales` (samples, sources) are the priors. `baseline_shift` (samples,
    columns) is added to the prior mean of a row without ratings. `cold_share` is the variance
    of such a row, relative to the prior. `average` (samples, columns) is the row of an unknown id.

    `projection` (samples * rank, low rank) maps the factors of a row to its low-rank factors.
    `seen` has the indices of the rows of this side that are history features of the other side.
    """

    means: Matrix
    precisions: Matrix
    links: Floats
    scales: Matrix
    baseline_shift: Matrix
    average: Matrix
    cold_share: float = 1.0
    projection: Floats = field(default_factory=lambda: np.zeros((0, 0), np.float32))
    seen: Ints = field(default_factory=lambda: np.zeros(0, np.int64))


@dataclass(frozen=True)
class PosteriorReport:
    """The reports of users, items and, with day effects, days; and the shared likelihood.

    `sizes` counts the trained rows of each side. `mean` is added to every score: the mean of the
    ratings, 0 for rating levels. Numeric ratings have `variance` (samples,), the noise of an
    average user. Rating levels have `base` (samples,), the first threshold, `shared` (samples,
    levels - 1), the thresholds of an average user, and `rating_levels`, ascending.
    """

    mean: float
    sizes: tuple[int, ...]
    sides: tuple[SideReport, ...]
    variance: Matrix | None = None
    base: Matrix | None = None
    shared: Matrix | None = None
    rating_levels: Matrix | None = None
    trace: Trace = field(default_factory=dict)

    @property
    def samples(self) -> int:
        """The number of samples."""
        return len(self.sides[0].average)

    @property
    def likelihood(self) -> dict[str, Array]:
        """The shared part of the likelihood, by name."""
        named = {"variance": self.variance, "base": self.base, "shared": self.shared}
        return {name: array for name, array in named.items() if array is not None}

    def for_scoring(self) -> "PosteriorReport":
        """Returns the report without the arrays that scores do not need, to send it to tasks."""
        none, few = np.zeros((0, 0)), np.zeros((0, 0), np.float32)
        sides = [
            replace(side, means=none, links=few, scales=none, projection=few) for side in self.sides
        ]
        return replace(self, sides=tuple(sides), trace={})

    def to_bytes(self) -> bytes:
        """Returns the report as bytes, for `from_bytes`."""
        arrays: dict[str, Array] = {"mean": np.array(self.mean), "sizes": np.array(self.sizes)}
        arrays |= self.likelihood
        if self.rating_levels is not None:
            arrays["rating_levels"] = self.rating_levels
        for number, side in enumerate(self.sides):
            for each in fields(SideReport):
                arrays[f"{number}/{each.name}"] = np.asarray(getattr(side, each.name))
        arrays |= {f"{_TRACE}{name}": array for name, array in self.trace.items()}
        return bytes(pack(arrays))

    @staticmethod
    def from_bytes(data: bytes) -> "PosteriorReport":
        """Reads the bytes of `to_bytes`."""
        arrays = unpack([data])
        sizes = tuple(int(size) for size in arrays["sizes"])
        sides = [
            {each.name: arrays[f"{number}/{each.name}"] for each in fields(SideReport)}
            for number in range(len(sizes))
        ]
        for side in sides:
            side["cold_share"] = float(side["cold_share"])  # type: ignore[assignment]
        named: dict[str, Any] = {
            name: arrays.get(name) for name in ("variance", "base", "shared", "rating_levels")
        }
        return PosteriorReport(
            float(arrays["mean"]),
            sizes,
            tuple(SideReport(**side) for side in sides),  # type: ignore[arg-type]
            **named,
            trace={
                name.removeprefix(_TRACE): array
                for name, array in arrays.items()
                if name.startswith(_TRACE)
            },
        )
