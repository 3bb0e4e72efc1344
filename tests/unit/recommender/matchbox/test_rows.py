"""Row draws, truncated normals and sums against dense NumPy."""

import numpy as np
import numpy.typing as npt
import pytest
from scipy import stats
from tests.support.matchbox_cases import random_places, sparse

from matchlake.recommender.matchbox.params import MatchboxParams
from matchlake.recommender.matchbox.sampler.gibbs import Gibbs, condition
from matchlake.recommender.matchbox.sampler.kernels import draw_rows, score_rows
from matchlake.recommender.matchbox.sampler.link_matrix import (
    Features,
    Iterative,
    Links,
    Source,
    Spectra,
)
from matchlake.recommender.matchbox.sampler.prior import Moments, Prior
from matchlake.recommender.matchbox.sampler.random import (
    draw_key,
    gamma,
    normal,
    normal_quantile,
    placed,
    truncated_normal,
)
from matchlake.recommender.matchbox.sampler.ratings import Ratings

Array = npt.NDArray[np.float64]

RANK = 20
KEY = draw_key(1, 2, 3)


def chain(sizes: tuple[int, ...], count: int, seed: int = 0) -> tuple[Gibbs, Ratings, Array]:
    chance = np.random.default_rng(seed)
    values = chance.normal(3, 1, count).astype(np.float32)
    x = chance.normal(0, 1, (sizes[0], 3))
    ratings = Ratings(random_places(sizes, count, seed), values, sizes)
    features = (Features(sparse(x)), *[None] * (len(sizes) - 1))
    gibbs = Gibbs(ratings, features, MatchboxParams(rank=RANK, threads=1))
    for side in gibbs.sides:
        side.rows[:, : RANK + 1] = chance.normal(0, 0.7, (len(side.rows), RANK + 1))
    return gibbs, ratings, x


def designs(gibbs: Gibbs, ratings: Ratings, side: int) -> tuple[Array, Array]:
    """Design rows (ratings, columns) and offsets of all ratings as `side` sees them, in f64."""
    rows = [s.rows[:, : RANK + 1].astype(float) for s in gibbs.sides]
    design, offset = np.zeros((len(ratings.values), RANK)), np.zeros(len(ratings.values))
    for other in range(len(rows)):
        if other != side:
            z = rows[other][ratings.places[:, other]]
            offset += z[:, RANK] + (design * z[:, :RANK]).sum(axis=1)
            design += z[:, :RANK]
    return np.column_stack([design, np.ones(len(design))]), offset


@pytest.mark.parametrize(("sizes", "side"), [((7, 9), 0), ((7, 9), 1), ((4, 5, 6), 1)])
def test_conditional_mean_and_covariance_are_those_of_a_dense_solve(
    sizes: tuple[int, ...], side: int
) -> None:
    count = int(np.prod(sizes)) // 2
    gibbs, ratings, x = chain(sizes, count)
    chance = np.random.default_rng(5)
    root = chance.normal(0, 1, (RANK + 1, RANK + 1))
    precision = root @ root.T + np.eye(RANK + 1)
    links = chance.normal(0, 1, (3 if side == 0 else 0, RANK + 1))
    prior = Prior(chance.normal(0, 1, RANK + 1), precision, links, np.ones(1))
    weights = chance.gamma(3, 1 / 2, sizes[0]).astype(np.float32)
    mine = gibbs.sides[side]
    centred = mine.sorted.values
    design, offset = designs(gibbs, ratings, side)
    target = np.empty(count)
    target[mine.sorted.order] = centred

    given = condition(mine, prior, (centred, weights), KEY, noise=0.0)
    means = np.zeros_like(mine.rows)
    draw_rows(mine.view, given, 0, sizes[side], means)
    for row in range(sizes[side]):
        own = ratings.places[:, side] == row
        w = weights[ratings.places[own, 0]].astype(float)
        a = precision + (design[own] * w[:, None]).T @ design[own]
        m = prior.mean + (x[row] @ links if side == 0 else 0.0)
        h = precision @ m + design[own].T @ (w * (target[own] - offset[own]))
        np.testing.assert_allclose(means[row, : RANK + 1], np.linalg.solve(a, h), atol=2e-3)
        assert not means[row, RANK + 1 :].any()

    # The deviations of many draws of row 0 have the covariance A^-1 of its dense solve.
    own = ratings.places[:, side] == 0
    w = weights[ratings.places[own, 0]].astype(float)
    a = precision + (design[own] * w[:, None]).T @ design[own]
    upper = np.linalg.cholesky(a).T
    white = []
    for number in range(4000):
        noisy = np.zeros_like(mine.rows)
        again = given._replace(noise=1.0, key=draw_key(number, 1))
        draw_rows(mine.view, again, 0, 1, noisy)
        white.append(upper @ (noisy[0, : RANK + 1] - means[0, : RANK + 1]).astype(float))
    np.testing.assert_allclose(np.cov(np.array(white).T), np.eye(RANK + 1), atol=0.12)
    np.testing.assert_allclose(np.mean(white, axis=0), 0.0, atol=0.08)


def test_scores_are_all_pairwise_dot_products_and_biases() -> None:
    gibbs, ratings, _ = chain((5, 6, 4), 60)
    z = [
        s.rows[:, : RANK + 1].astype(float)[ratings.places[:, n]] for n, s in enumerate(gibbs.sides)
    ]
    pairs = [
        (a[:, :RANK] * b[:, :RANK]).sum(axis=1)
        for a, b in ((z[0], z[1]), (z[0], z[2]), (z[1], z[2]))
    ]
    expected = sum(pairs) + sum(one[:, RANK] for one in z)
    for side in gibbs.sides:
        scores = np.empty(60, np.float32)
        score_rows(side.view, side.rows, 0, len(side.rows), scores)
        np.testing.assert_allclose(scores, expected[side.sorted.order], atol=1e-4)


def test_counter_draws_have_their_distributions() -> None:
    keys = [np.uint64(placed(KEY, n)) for n in range(20_000)]
    normals = np.array([normal(key, 3) for key in keys])
    assert stats.kstest(normals, "norm").pvalue > 1e-3
    for shape in (0.4, 1.0, 9.0):
        drawn = [gamma(key, shape) for key in keys[:5000]]
        assert stats.kstest(drawn, "gamma", (shape,)).pvalue > 1e-3
    level_probabilities = np.r_[1e-290, 1e-30, 1e-6, 0.02, 0.3, 0.5, 0.9, 1 - 1e-9]
    quantiles = [normal_quantile(chance) for chance in level_probabilities]
    np.testing.assert_allclose(
        quantiles, stats.norm.ppf(level_probabilities), rtol=1e-7, atol=1e-12
    )


@pytest.mark.parametrize(
    ("score", "low", "high"),
    [(0.0, -1.0, 0.5), (3.0, -1e9, 0.0), (-9.0, 1.0, 2.0), (20.0, 0.0, 1.0)],
)
def test_truncated_normal_quantiles(score: float, low: float, high: float) -> None:
    level_probabilities = np.linspace(0.01, 0.99, 21)
    drawn = np.sort([truncated_normal(score, low, high, chance) for chance in level_probabilities])
    expected = stats.truncnorm.ppf(level_probabilities, low - score, high - score, loc=score)
    np.testing.assert_allclose(drawn, expected, rtol=1e-6, atol=1e-9)
    assert low <= truncated_normal(60.0, low, high, 0.5) <= high


def test_moments_and_spectrum_are_those_of_dense_matrices() -> None:
    chance = np.random.default_rng(0)
    x = np.where(chance.random((40, 300)) < 0.2, chance.random((40, 300)), 0.0)
    z = chance.normal(0, 1, (40, 4)).astype(np.float32)
    sources = Source("few", 20), Source("many", 280)
    features = Features(sparse(x), 2, sources)
    x = x.astype(np.float32).astype(float)
    np.testing.assert_allclose(features.gram(), x.T @ x, atol=1e-9)
    moments = Moments.of(z, features)
    np.testing.assert_allclose(moments.cross, x.T @ z.astype(float), atol=1e-9)
    np.testing.assert_allclose(moments.square, z.T.astype(float) @ z, atol=1e-9)
    spectrum = Spectra.of(features.gram(), features.sums(), 40, np.array([300]))
    left = np.eye(40) - 1 / 42  # what is left of a row without the mean
    gram = x.T @ left @ x
    target, nothing = chance.normal(0, 1, (300, 4)), np.zeros((300, 4))
    solved, scale = np.linalg.solve(gram + 1.5 * np.eye(300), target), np.array([1.5])
    drawn = spectrum.draw(Links(nothing, scale, np.eye(4)), target, nothing, None)
    np.testing.assert_allclose(drawn.links, solved, atol=1e-9)
    np.testing.assert_allclose(drawn.scatter, solved.T @ gram @ solved, atol=1e-7)
    scales = np.array([40.0, 90.0])
    spectra = Spectra.of(features.gram(), spectrum.sums, 40, features.widths)
    diagonal = np.diag(np.repeat(scales, features.widths))
    links, exact = Links(nothing, scales, np.eye(4)), np.linalg.solve(gram + diagonal, target)
    for _ in range(30):
        links = spectra.draw(links, target, nothing, None)
    np.testing.assert_allclose(links.links, exact, atol=1e-9)
    np.testing.assert_allclose(links.scatter, exact.T @ gram @ exact, atol=1e-7)
    iterative = Iterative.of(features)
    noise = chance.normal(0, 1, (iterative.noise_rows, 4))
    roots = np.eye(40) - (1 - np.sqrt(2 / 42)) / 40
    moved = target + x.T @ roots @ noise[300:] + np.sqrt(diagonal) @ noise[:300]
    exact = np.linalg.solve(gram + diagonal, moved)
    solved = iterative.draw(Links(nothing, scales, np.eye(4)), target, noise, None)
    np.testing.assert_allclose(solved.links, exact, atol=1e-4)
    np.testing.assert_allclose(solved.scatter, exact.T @ gram @ exact, rtol=1e-3)
    none = np.zeros((300, 300))
    root = spectrum.draw(Links(none, scale, none), none, np.eye(300), None).links
    np.testing.assert_allclose(root @ root.T, np.linalg.inv(gram + 1.5 * np.eye(300)), atol=1e-9)
