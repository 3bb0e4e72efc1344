"""Quality measures of clusterings, computed in one pass over the rows for all clusterings."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from matchlake.engine.exact_sums import bounds_of, total_of
from matchlake.engine.nearest import pack_groups
from matchlake.learners.cluster_passes import Measure
from matchlake.learners.cluster_rows import ClusterRows, Doubles
from matchlake.learners.lloyd import Clustering


@dataclass(frozen=True)
class Measures:
    """The quality of a clustering. A measure is NaN if undefined, as for one cluster."""

    inertia: float
    """The sum of the squared distances to the nearest centre."""
    silhouette: float
    """The mean simplified silhouette (Hruschka et al. 2004): (b - a) / max(a, b). Here a is the
    distance to the nearest centre, and b the distance to the second nearest."""
    davies_bouldin: float
    """The Davies-Bouldin index (1979): the mean over clusters of the largest ratio of two clusters'
    spreads to the distance of their means. Smaller is better."""
    calinski_harabasz: float
    """The variance between clusters divided by the variance within (Calinski and Harabasz 1974)."""
    rows: tuple[int, ...]
    """The number of rows of each cluster."""
    silhouettes: tuple[float, ...]
    """The mean simplified silhouette of each cluster."""


def measure_clusterings(
    rows: ClusterRows, clusterings: Sequence[Clustering], mean: Doubles
) -> list[Measures]:
    """Returns the measures of each clustering, in one pass; `mean` is the mean of all rows."""
    groups = pack_groups([each.centers for each in clusterings])
    centers = np.vstack([each.centers for each in clusterings])
    means = np.vstack([each.centers if each.means is None else each.means for each in clusterings])
    bound = float(bounds_of(4.0 * centers.shape[1]))
    found = rows.scan(Measure(groups, centers, means, bound))
    totals = total_of(found["sums"], np.array([bound] * 3 + [1.0])[None, :])
    cuts = groups.first[1:-1]
    by_group = [np.split(each, cuts) for each in (found["counts"], totals, means)]
    return [
        _measured(counts, total, mean_of, mean, rows.scale.factor)
        for counts, total, mean_of in zip(*by_group, strict=True)
    ]


def _measured(
    counts: Doubles, totals: Doubles, means: Doubles, mean: Doubles, factor: float
) -> Measures:
    to_center, to_mean, distances, silhouettes = totals.T
    n, present = int(counts.sum()), counts > 0
    k = int(present.sum())
    by_cluster = np.divide(silhouettes, counts, out=np.zeros(len(counts)), where=present)
    between = float((counts * np.square(means - mean).sum(axis=1)).sum())
    within = float(to_mean.sum())
    enough = 1 < k < n
    ratio = between * (n - k) / (within * (k - 1)) if enough and within else float(enough)
    spreads = distances[present] / counts[present]
    return Measures(
        inertia=float(to_center.sum()) * factor * factor,
        silhouette=float(silhouettes.sum()) / n if len(counts) > 1 else float("nan"),
        davies_bouldin=_davies_bouldin(spreads, means[present]) if enough else float("nan"),
        calinski_harabasz=ratio if enough else float("nan"),
        rows=tuple(map(int, counts)),
        silhouettes=tuple(map(float, by_cluster)),
    )


def _davies_bouldin(spreads: Doubles, means: Doubles) -> float:
    apart = np.sqrt(np.square(means[:, None] - means[None]).sum(axis=2))
    if not spreads.any() or not apart.any():
        return 0.0
    apart[apart == 0] = np.inf
    return float(((spreads[:, None] + spreads[None]) / apart).max(axis=1).mean())
