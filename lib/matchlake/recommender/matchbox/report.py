"""All of a fitted posterior that is not a row: priors, shared likelihood, traces."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np

from matchlake.engine.csr import Floats, Ints
from matchlake.engine.packing import Array, pack, unpack
from matchlake.recommender.matchbox.sampler.kernels import Matrix

Trace = Mapping[str, Array]
"""One number per chain and sweep, (chains, sweeps), by name."""

_TRACE = "trace_"


@dataclass(frozen=True)
class SideReport:
    """The priors of one side, sample by sample, and what stands for rows without ratings.

    `means` (samples, columns), `precisions` (samples, columns, columns), `links` (samples,
    features, columns) and `scales` (samples, sources) are the priors. `baseline_shift` (samples,
    columns) is added to the prior mean of a row without ratings; `cold_share` is its variance
    relative to the prior. `average` (samples, columns) is the row of an unknown id.

    `projection` (samples * rank, few columns) maps a row's factors to low-rank ones. `seen` are
    the indices of the rows of this side that are history features of the other side.
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
    """The sides (users, items and, with day effects, days), and the likelihood.

    `sizes` counts the trained rows of each side. `mean` is added to every score: the mean of the
    ratings, 0 for rating levels. Numbers have `variance` (samples,), the noise of an average user.
    Levels have `base` (samples,), their first threshold, `shared` (samples, levels - 1), the
    thresholds of an average user, and `rating_levels`, ascending.
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
        """The report without the arrays that scores do not need, to be sent to tasks."""
        none, few = np.zeros((0, 0)), np.zeros((0, 0), np.float32)
        sides = [
            replace(side, means=none, links=few, scales=none, projection=few) for side in self.sides
        ]
        return replace(self, sides=tuple(sides), trace={})

    def to_bytes(self) -> bytes:
        """All of it, for `from_bytes`."""
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
        """The report of `to_bytes`."""
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
