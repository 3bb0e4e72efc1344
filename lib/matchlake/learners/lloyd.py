"""Lloyd's algorithm for many clusterings together: one pass over the rows per iteration."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from matchlake.engine.exact_sums import total_of
from matchlake.engine.nearest import pack_groups
from matchlake.learners.cluster_passes import Assign, Farthest
from matchlake.learners.cluster_rows import ClusterRows, Doubles
from matchlake.learners.protocol import OnProgress

_log = logging.getLogger(__name__)


@dataclass
class Clustering:
    """One clustering of a sweep during the fit; its centres are scaled."""

    name: str
    centers: Doubles
    iterations: int = 0
    converged: bool = False
    reseeded: int = 0
    """How often an empty cluster got the row that is farthest from its centre."""
    means: Doubles | None = None
    """The means of the rows of each cluster, once the centres are final."""


def run_lloyd(
    rows: ClusterRows,
    clusterings: Sequence[Clustering],
    tolerance: float,
    most: int,
    on_progress: OnProgress | None = None,
) -> None:
    """Iterates until the centres of every clustering move by less than `tolerance`.

    A clustering that has converged takes no part in later passes. `tolerance` is the sum of the
    squared movements; `most` is the maximum number of iterations.
    """
    active = list(clusterings)
    for number in range(most):
        if not active:
            break
        for each, moved in zip(active, _moved(rows, active), strict=True):
            each.iterations += 1
            apart = float(np.square(moved - each.centers).sum())
            if not apart:
                each.means = moved
            each.centers, each.converged = moved, apart <= tolerance
        active = [each for each in active if not each.converged]
        if on_progress is not None:
            on_progress("active clusterings", float(len(active)))
        _log.debug("iteration %d: %d clusterings are active", number + 1, len(active))
    for each in active:
        _log.warning("%s has not converged after %d iterations", each.name, each.iterations)
    last = [each for each in clusterings if each.means is None]
    if last:
        for each, means in zip(last, _means(rows, last), strict=True):
            each.means = means


def _moved(rows: ClusterRows, active: Sequence[Clustering]) -> list[Doubles]:
    """Returns the centres after an iteration; empty clusters get the farthest rows."""
    counts, sums = _sums(rows, active)
    empty = [i for i, count in enumerate(counts) if (count == 0).any()]
    if empty:
        _reseed(rows, [active[i] for i in empty], [counts[i] for i in empty],
                [sums[i] for i in empty])  # fmt: skip
    return _divided(sums, counts, active)


def _means(rows: ClusterRows, clusterings: Sequence[Clustering]) -> list[Doubles]:
    counts, sums = _sums(rows, clusterings)
    return _divided(sums, counts, clusterings)


def _divided(
    sums: Sequence[Doubles], counts: Sequence[Doubles], clusterings: Sequence[Clustering]
) -> list[Doubles]:
    """Returns the means of the clusters; a cluster without rows keeps its centre."""
    return [
        np.where(count[:, None] > 0, total / np.maximum(count, 1)[:, None], each.centers)
        for total, count, each in zip(sums, counts, clusterings, strict=True)
    ]


def _sums(rows: ClusterRows, active: Sequence[Clustering]) -> tuple[list[Doubles], list[Doubles]]:
    """The number of rows and the sum of the rows of each cluster, by clustering."""
    groups = pack_groups([each.centers for each in active])
    found = rows.scan(Assign(groups, rows.scale.bounds))
    cuts = groups.first[1:-1]
    sums = total_of(found["sums"], rows.scale.bounds[None, :])
    return np.split(found["counts"].astype(np.float64), cuts), np.split(sums, cuts)


def _reseed(
    rows: ClusterRows,
    clusterings: Sequence[Clustering],
    counts: Sequence[Doubles],
    sums: Sequence[Doubles],
) -> None:
    """Moves the rows farthest from their centres into the empty clusters, as scikit-learn does."""
    wanted = [int((each == 0).sum()) for each in counts]
    centers = [each.centers for each in clusterings]
    found = rows.scan(Farthest(pack_groups(centers), centers, wanted))
    for i, clustering in enumerate(clusterings):
        keys, far, places = (found[f"{i}:{name}"] for name in ("keys", "rows", "places"))
        for key, row, place, cluster in zip(
            keys, far, places, np.flatnonzero(counts[i] == 0), strict=False
        ):
            if not key:  # all remaining rows lie on their centres
                break
            counts[i][place] -= 1
            sums[i][place] -= row
            counts[i][cluster], sums[i][cluster] = 1.0, row
            clustering.reseeded += 1
