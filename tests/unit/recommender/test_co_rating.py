"""The score of related entities against the normal density it stands for."""

import numpy as np
from scipy import stats

from matchlake.recommender.co_rating import log_densities


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
