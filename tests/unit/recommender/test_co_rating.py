"""The score of related entities against the normal density it stands for."""

import numpy as np
from scipy import stats

from matchlake.recommender.co_rating import distances, log_densities


def test_log_densities_are_those_of_equal_ratings_by_a_random_rater() -> None:
    chance = np.random.default_rng(0)
    raters = chance.normal(0.3, 1, (50_000, 3)) @ chance.normal(0, 0.5, (3, 3))
    items, bias = chance.normal(0, 1, (4, 3)), chance.normal(0, 0.5, 4)
    centre, covariance = raters.mean(axis=0), np.cov(raters.T, ddof=0)
    values, vectors = np.linalg.eigh(covariance)
    rows = items @ (vectors * np.sqrt(values))
    levels = bias + items @ centre
    scores = log_densities(rows, levels, rows, levels, 0.7)
    for a in range(4):
        for b in range(4):
            differences = bias[a] - bias[b] + raters @ (items[a] - items[b])
            spread = np.sqrt(differences.var() + 2 * 0.7)
            expected = stats.norm.logpdf(0.0, differences.mean(), spread)
            np.testing.assert_allclose(scores[a, b], expected, atol=1e-4)


def test_distances_are_in_units_of_a_rating() -> None:
    rows, levels = np.zeros((4, 2), np.float32), np.array([0, 0.25, 1, 3], np.float32)
    found = distances(log_densities(rows, levels, rows, levels, 1.0), 1.0)
    # Items without a spread: the distance is the difference of the expected ratings.
    np.testing.assert_allclose(found, np.abs(levels[:, None] - levels[None]), atol=2e-3)
    # A small spread about equal means is the root mean square difference.
    rows[1] = 0.2
    spread = distances(
        log_densities(rows[:2], levels[:1].repeat(2), rows[:2], levels[:1].repeat(2), 1.0), 1.0
    )
    assert spread[0, 1] == np.float32(spread[1, 0])
    np.testing.assert_allclose(spread[0, 1], 0.2 * 2**0.5, rtol=0.02)
    assert (np.argsort(found[0]) == np.arange(4)).all()
