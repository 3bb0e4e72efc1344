"""Fits of planted models, and the laws of a chain's numbers."""

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from tests.support.matchbox_cases import Case, gibbs_for, planted

from matchlake.recommender.matchbox.low_rank import low_rank, low_rank_of_rows
from matchlake.recommender.matchbox.params import MatchboxParams
from matchlake.recommender.matchbox.posterior import Posterior, factors_of
from matchlake.recommender.matchbox.prediction import score_pairs
from matchlake.recommender.matchbox.sampler.gibbs import Gibbs
from matchlake.recommender.matchbox.sampler.ratings import Ratings

PARAMS = MatchboxParams(rank=2, samples=60, burn_in=80, thinning=2, threads=1)


def posterior(case: Case, params: MatchboxParams = PARAMS) -> Posterior:
    gibbs = gibbs_for(case, params)
    return Posterior.of(gibbs.samples(), gibbs.response.mean, gibbs.response.levels)


def sample_scores(found: Posterior, case: Case) -> npt.NDArray[np.float64]:
    """Scores (ratings, samples), the mean included."""
    predictor = found.predictor()
    scores = np.zeros((len(case.places), found.samples), np.float32)
    score_pairs(found.stacked(case.places), predictor.rows, scores)
    return scores.astype(float) + found.mean


def changed(**changes: Any) -> MatchboxParams:
    return PARAMS.model_copy(update=changes)


@pytest.fixture(scope="module")
def recovered() -> tuple[Case, Posterior]:
    case = planted(1)
    return case, posterior(case)


def test_planted_scores_and_precisions_lie_in_their_intervals(
    recovered: tuple[Case, Posterior],
) -> None:
    case, found = recovered
    scores = sample_scores(found, case)
    low, high = np.quantile(scores, [0.05, 0.95], axis=1)
    inside = (low <= case.scores) & (case.scores <= high)
    assert 0.85 < inside.mean() < 0.95
    error = scores.mean(axis=1) - case.scores
    assert np.sqrt(np.mean(error**2)) < 0.3
    low, high = np.quantile(found.response["users"][:, :, 0], [0.05, 0.95], axis=0)
    inside = (low <= case.precisions) & (case.precisions <= high)
    assert 0.8 < inside.mean() < 0.98


def test_planted_links_of_the_bias_lie_in_their_intervals(
    recovered: tuple[Case, Posterior],
) -> None:
    case, found = recovered
    # Factors may turn; what a feature does to the score of a pair may not.
    items = found.sides[1].rows
    users = np.einsum("nd,sdk->nsk", case.x, found.sides[0].links)
    effect = np.einsum("nsk,msk->nms", users[..., :-1], items[..., :-1]) + users[..., None, :, -1]
    planted_users = case.x @ case.links
    true = planted_users[:, :2] @ case.items[:, :2].T + planted_users[:, 2:]
    true = true - true.mean(axis=0)
    effect = effect - effect.mean(axis=0)
    low, high = np.quantile(effect, [0.05, 0.95], axis=2)
    assert ((low <= true) & (true <= high)).mean() > 0.75


def test_rating_intervals_cover_new_ratings(recovered: tuple[Case, Posterior]) -> None:
    case, found = recovered
    chance = np.random.default_rng(3)
    users = case.places[:, 0]
    new = case.scores + chance.standard_normal(len(users)) / np.sqrt(case.precisions[users])
    scores, rating_std, _ = found.predictor().predict(found.stacked(case.places))
    inside = np.abs(new - scores) < 1.645 * rating_std
    assert 0.87 < inside.mean() < 0.93


def test_global_noise_variance_is_the_same_for_all_users_and_covers_too() -> None:
    case = planted(1)
    chance = np.random.default_rng(4)
    values = case.scores + 0.8 * chance.standard_normal(len(case.scores))
    case = replace(case, values=values.astype(np.float32))
    found = posterior(case, changed(noise_variance="global"))
    precisions = found.response["users"][:, :, 0]
    assert (precisions == precisions[:, :1]).all()
    assert 1 / np.sqrt(precisions[:, 0].mean()) == pytest.approx(0.8, rel=0.03)
    assert found.response["variance"] == pytest.approx(1 / precisions[:, 0], rel=1e-5)


def test_concatenated_factors_score_as_the_average_of_the_samples(
    recovered: tuple[Case, Posterior],
) -> None:
    case, found = recovered
    users, items = case.places.T
    u, v = (factors_of(side.rows) for side in found.sides)
    b, c = (side.rows[:, :, -1].mean(axis=1) for side in found.sides)
    biases = found.mean + b[users] + c[items]
    scores = biases + (u[users] * v[items]).sum(axis=1)
    predicted = found.predictor().predict(found.stacked(case.places)).scores
    np.testing.assert_allclose(scores, predicted, atol=1e-4)
    np.testing.assert_allclose(scores, sample_scores(found, case).mean(axis=1), atol=1e-4)
    assert u.shape == (150, 60 * 2)
    for loss, columns in ((0.02, 40), (0.2, 5)):
        few = low_rank_of_rows(u, v, loss)
        off = (u @ few.users) @ (v @ few.items).T - u @ v.T
        assert 0 < np.sqrt(np.mean(off**2)) < loss
        assert few.users.shape[1] < columns
        again = low_rank((u.T.astype(float) @ u, v.T.astype(float) @ v), (150, 80), loss)
        same = (u @ again.users) @ (v @ again.items).T
        np.testing.assert_allclose((u @ few.users) @ (v @ few.items).T, same, atol=1e-3)


def test_same_seed_same_numbers_on_any_threads_and_order_of_ratings() -> None:
    case = planted(2, users=40, items=30)
    mixed = np.random.default_rng(0).permutation(len(case.values))
    for ordinal in (False, True):
        if ordinal:
            case = replace(case, values=np.clip(np.round(case.values), 1, 5))
        shuffled = replace(case, places=case.places[mixed], values=case.values[mixed])
        params = changed(burn_in=3, samples=4, ordinal=ordinal)
        one = posterior(case, params)
        two = posterior(shuffled, params.model_copy(update={"threads": 2}))
        other = posterior(case, params.model_copy(update={"seed": 1}))
        for side in (0, 1):
            np.testing.assert_array_equal(one.sides[side].rows, two.sides[side].rows)
            assert not np.allclose(one.sides[side].rows, other.sides[side].rows)


def test_ordinal_probabilities_are_calibrated_and_sum_to_one() -> None:
    numeric = planted(4)
    levels = np.array([1.0, 2.0, 3.5, 4.0, 5.0])
    checkpoints = np.array([1.7, 2.6, 3.4, 4.4])
    values = levels[np.searchsorted(checkpoints, numeric.values)].astype(np.float32)
    case = replace(numeric, values=values)
    found = posterior(case, changed(ordinal=True))
    users = case.places[:, 0]
    expected, rating_std, level_probabilities = found.predictor().predict(
        found.stacked(case.places)
    )
    assert level_probabilities is not None
    np.testing.assert_allclose(level_probabilities.sum(axis=1), 1.0, atol=1e-5)
    chance = np.random.default_rng(3)
    new = case.scores + chance.standard_normal(len(users)) / np.sqrt(case.precisions[users])
    happened = np.searchsorted(checkpoints, new)[:, None] == np.arange(5)
    np.testing.assert_allclose(level_probabilities.mean(axis=0), happened.mean(axis=0), atol=0.02)
    assert np.mean(np.log((level_probabilities * happened).sum(axis=1))) > np.mean(
        np.log((happened.mean(axis=0) * happened).sum(axis=1))
    )
    np.testing.assert_allclose(expected, level_probabilities @ levels, atol=1e-4)
    variances = level_probabilities @ levels**2 - (level_probabilities @ levels) ** 2
    np.testing.assert_allclose(rating_std**2, variances, atol=1e-3)


def test_two_levels_and_rows_without_ratings_are_fine() -> None:
    numeric = planted(5, users=30, items=20)
    values = (numeric.values > 3).astype(np.float32)
    case = replace(numeric, values=values, sizes=(30, 25))
    found = posterior(case, changed(ordinal=True, burn_in=2, samples=3))
    assert np.isfinite(found.sides[1].rows).all()
    predicted = found.predictor().predict(found.stacked(case.places), clip=(0.2, 0.8)).scores
    assert predicted.min() >= 0.2
    assert predicted.max() <= 0.8


def test_a_chain_starts_at_damped_means_and_products_of_half_the_deviation() -> None:
    places = np.array([[0, 0], [0, 1], [0, 2], [1, 0], [2, 1]], np.int32)
    values = np.array([1, 1, 1, 5, 2], np.float32)
    gibbs = Gibbs(Ratings(places, values, (3, 3)), (None, None), MatchboxParams(rank=4, threads=1))
    users, items = (side.rows for side in gibbs.sides)
    assert users[:, 4] == pytest.approx([-3 / 8, 3 / 6, 0])
    assert items[:, 4] == pytest.approx([(-1 + 3) / 7, (-1 + 0) / 7, -1 / 6])

    big = planted(4, users=400, items=300, rank=4)
    for scale in (1.0, 25.0):
        case = replace(big, values=scale * big.values)
        users, items = (side.rows for side in gibbs_for(case, changed(rank=4)).sides)
        products = users[:, :4] @ items[:, :4].T
        assert products.std() == pytest.approx(np.ptp(case.values) / 8, rel=0.1)


def test_a_chain_starts_near_where_it_stays() -> None:
    # Weak factors beside much noise: from rows near zero this takes hundreds of sweeps.
    chance = np.random.default_rng(6)
    case = planted(6, users=600, items=200, rank=4)
    noisy = case.scores + 2.5 * chance.standard_normal(len(case.scores))
    thin = chance.random(len(noisy)) < 0.2
    case = replace(case, places=case.places[thin], values=noisy[thin].astype(np.float32))
    gibbs = gibbs_for(case, changed(rank=8))
    for _ in range(120):
        gibbs.sweep()
    noise = [facts["noise"] for facts in gibbs.trace]
    assert np.mean(noise[15:30]) == pytest.approx(np.mean(noise[80:]), rel=0.05)
