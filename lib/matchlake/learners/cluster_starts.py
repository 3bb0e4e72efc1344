"""The first centres of the clusterings of a sweep: k-means++ on shared candidates.

The candidates are a uniform sample and rounds of oversampling by squared distance, as in k-means||
(Bahmani et al. 2012). The weight of a candidate is the number of rows for which it is the nearest
candidate. k-means++ chooses centres among the candidates (Arthur and Vassilvitskii 2007). A few
weighted iterations of Lloyd's algorithm follow.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from matchlake.engine.exact_sums import total_of
from matchlake.engine.nearest import pack_groups
from matchlake.learners.cluster_passes import Assign, Moments, Oversample
from matchlake.learners.cluster_rows import ClusterRows, Doubles

SAMPLE = 2048
"""Rows of the uniform sample."""
_PER_CLUSTER = 4
_ROUNDS = 3
_ITERATIONS = 30
_TRIES = 4
"""The number of k-means++ runs; the run with the smallest inertia gives the start."""


@dataclass(frozen=True)
class Candidates:
    """Candidate rows for the first centres, scaled, with their weights."""

    rows: Doubles
    weights: Doubles
    sample: Doubles
    """A uniform sample of the rows, distinct."""
    mean: Doubles
    variance: float
    """The mean of the columns' variances."""
    distinct: int
    """The number of distinct rows, counted up to the maximum number of clusters plus one."""


def find_candidates(rows: ClusterRows, most: int, seed: int) -> Candidates:
    """Finds candidates for up to `most` clusters. One pass, and four more for many rows."""
    bounds = rows.scale.bounds
    found = rows.scan(Moments(bounds, seed, SAMPLE, most + 1))
    powers = np.stack([bounds, bounds**2])
    mean, square = total_of(found["sums"], powers) / rows.count
    sample = found["rows"]
    distinct = sample[np.sort(np.unique(sample, axis=0, return_index=True)[1])]
    chosen, weights = sample, np.ones(len(sample))
    if rows.count > len(sample):
        chosen, weights = _oversampled(rows, distinct, most, seed)
    variance = float(np.maximum(square - mean**2, 0.0).mean())
    return Candidates(chosen, weights, distinct, mean, variance, len(found["distinct"]))


def _oversampled(
    rows: ClusterRows, sample: Doubles, most: int, seed: int
) -> tuple[Doubles, Doubles]:
    count = _PER_CLUSTER * most
    chosen = sample[:count]
    for number in range(_ROUNDS):
        work = Oversample(pack_groups([chosen]), chosen, seed, number + 1, count)
        chosen = np.vstack([chosen, rows.scan(work)["rows"]])
    counted = rows.scan(Assign(pack_groups([chosen]), rows.scale.bounds))
    return chosen, counted["counts"].astype(np.float64)


def start_centers(found: Candidates, k: int, kind: str, seed: int, start: int) -> Doubles:
    """Returns the first centres of a clustering; `k` is at most the number of distinct rows."""
    random = np.random.default_rng([seed, start])
    if kind == "random" and len(found.sample) >= k:
        return found.sample[random.choice(len(found.sample), k, replace=False)]
    if found.distinct == k:
        return np.unique(found.rows, axis=0)[:k]
    tried = [_weighted_lloyd(found, _plus_plus(found, k, random)) for _ in range(_TRIES)]
    return min(tried, key=lambda each: each[1])[0]


def _plus_plus(found: Candidates, k: int, random: np.random.Generator) -> Doubles:
    """Runs k-means++ with the best of several draws per centre, as scikit-learn does."""
    rows, weights = found.rows, found.weights
    trials = 2 + int(np.log(k))
    chosen = [_draw(weights, 1, random)[0]]
    apart = _distances(rows, rows[chosen])[:, 0]
    while len(chosen) < k:
        drawn = _draw(weights * apart, trials, random)
        closer = np.minimum(apart[:, None], _distances(rows, rows[drawn]))
        best = int(np.argmin(weights @ closer))
        chosen.append(int(drawn[best]))
        apart = closer[:, best]
    return rows[chosen]


def _draw(weights: Doubles, count: int, random: np.random.Generator) -> npt.NDArray[np.int64]:
    total = np.cumsum(weights)
    if not total[-1]:  # all rows lie on centres, so any row will do
        return random.integers(0, len(weights), count)
    places = np.searchsorted(total, random.random(count) * total[-1], side="right")
    capped: npt.NDArray[np.int64] = np.minimum(places, np.flatnonzero(weights)[-1])
    return capped


def _weighted_lloyd(found: Candidates, centers: Doubles) -> tuple[Doubles, float]:
    """Returns centres after some iterations over the candidates, and their weighted inertia."""
    rows, weights = found.rows, found.weights
    for _ in range(_ITERATIONS):
        apart = _distances(rows, centers)
        places = apart.argmin(axis=1)
        mass = np.bincount(places, weights, len(centers))
        sums = np.stack(
            [np.bincount(places, weights * each, len(centers)) for each in rows.T], axis=1
        )
        moved = np.where(mass[:, None] > 0, sums / np.maximum(mass, 1e-300)[:, None], centers)
        if np.array_equal(moved, centers):
            break
        centers = moved
    return centers, float(weights @ _distances(rows, centers).min(axis=1))


def _distances(rows: Doubles, centers: Doubles) -> Doubles:
    """The squared distances (rows, centres)."""
    return np.stack([np.square(rows - each).sum(axis=1) for each in centers], axis=1)
