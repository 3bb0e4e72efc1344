"""Parameters that a fit chooses from its data: no unit of the weights changes the lists."""

import logging
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from matchlake.dev.sandbox.movielens import bundled_movielens
from matchlake.engine.csr import csr_from_pairs
from matchlake.engine.top_k import lists_of, pack_targets, top_k
from matchlake.errors import ParameterError
from matchlake.recommender.als.defaults import PENALTY, UNOBSERVED, resolve
from matchlake.recommender.als.in_memory import fit_rows
from matchlake.recommender.als.params import AlsParams
from matchlake.recommender.interaction_stats import InteractionStats
from matchlake.recommender.scaled_weights import scaled_weights

Floats = npt.NDArray[np.float32]


def stats(weights: Floats, users: int, items: int) -> InteractionStats:
    typical = float(np.exp(np.log(weights[weights > 0]).mean()))
    low, high, mean = float(weights.min()), float(weights.max()), float(weights.mean())
    return InteractionStats(len(weights), users, items, 0.0, low, high, mean, typical)


SIZE = stats(np.full(10_000, 3.0, np.float32), 400, 1000)


def test_the_rule_in_numbers() -> None:
    chosen = resolve(AlsParams(), SIZE)
    density = 10_000 / 400_000
    assert (chosen.alpha, chosen.weight_scale) == (1.0, pytest.approx(3.0))
    assert chosen.unobserved_weight == pytest.approx(UNOBSERVED * density**0.5)
    # The penalty of a user, and of an item, with the mean number of interactions.
    noise = (400 / 10_000) ** 0.5 + (1000 / 10_000) ** 0.5
    for mean, others in ((10_000 / 400, 1000), (10_000 / 1000, 400)):
        frequency = mean + chosen.base_weight * others
        assert chosen.penalty_weight * frequency == pytest.approx(PENALTY * noise * mean)


def test_few_interactions_do_not_make_the_penalty_too_strong_to_learn() -> None:
    few = stats(np.ones(100, np.float32), 90, 80)
    chosen = resolve(AlsParams(), few)
    mean = 100 / (90 * 80) ** 0.5
    frequency = mean * (1 + chosen.base_weight / (100 / (90 * 80)))
    assert chosen.penalty_weight * frequency == pytest.approx(0.95 * mean)


def test_given_numbers_stay_and_mean_what_they_did() -> None:
    given: dict[str, Any] = {"alpha": 2.0, "unobserved_weight": 0.3, "regularization": 0.01}
    chosen = resolve(AlsParams(**given), SIZE)
    assert chosen == AlsParams(**given)
    explicit = resolve(AlsParams(feedback="explicit"), SIZE)
    assert explicit.regularization == 0.05


@pytest.mark.parametrize("objective", ["ials", "hu_koren"])
@pytest.mark.parametrize("nu", [0.0, 0.5, 1.0])
def test_one_given_number_scales_the_others(objective: str, nu: float) -> None:
    one, ten = (
        resolve(AlsParams(alpha=alpha, objective=objective, nu=nu), SIZE) for alpha in (100, 1000)
    )
    assert one.weight_scale is None
    if objective == "ials":
        assert ten.base_weight == pytest.approx(10 * one.base_weight)
        assert penalty_of_a_mean_row(ten) == pytest.approx(10 * penalty_of_a_mean_row(one))
    else:  # An observed pair has the weight 1 + alpha * weight.
        assert ten.penalty_weight == pytest.approx(3001 / 301 * one.penalty_weight)


def penalty_of_a_mean_row(params: AlsParams) -> float:
    mean = 10_000 / 400_000**0.5
    frequency = mean * (1 + params.base_weight / (10_000 / 400_000))
    return float(params.penalty_weight * frequency**params.nu)


def test_the_chosen_numbers_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        resolve(AlsParams(unobserved_weight=0.5), SIZE)
    assert "chosen from the data: alpha 1, weight_scale 3, regularization 0.0" in caplog.text
    assert "unobserved" not in caplog.text


def test_null_without_data_is_an_error() -> None:
    with pytest.raises(ParameterError, match="unobserved_weight is null"):
        _ = AlsParams().base_weight


def test_scaled_weights_grow_slowly_and_keep_zero() -> None:
    values = np.array([0.0, 2.0, 6.0, 2e6], np.float32)
    np.testing.assert_allclose(scaled_weights(values, 2.0), [0, 1, 2, np.log2(1e6 + 1)], rtol=1e-6)
    assert scaled_weights(values, None) is values


def lists(weights: Floats) -> npt.NDArray[np.int32]:
    """The ten best unseen items of each user of MovieLens-100K, by the defaults."""
    frame = bundled_movielens().read_ratings()
    users, items = (np.unique(frame[key], return_inverse=True)[1] for key in ("user_id", "item_id"))
    shape = int(users.max()) + 1, int(items.max()) + 1
    params = resolve(AlsParams(iterations=5), stats(weights, *shape))
    values = scaled_weights(weights, params.weight_scale)
    fitted = fit_rows(csr_from_pairs(users, items, values, shape), params)
    seen = lists_of(users, items, *shape)
    return top_k(fitted.users[:, :64].copy(), pack_targets(fitted.items[:, :64].copy()), 10, seen)[
        0
    ]


def test_the_unit_of_the_weights_changes_no_list_and_a_logarithm_few() -> None:
    ratings = bundled_movielens().read_ratings()["rating"].to_numpy(np.float32)
    plain = lists(ratings)
    assert overlap(plain, lists(1000 * ratings)) > 0.99
    assert overlap(plain, lists(np.log1p(ratings))) > 0.8


def overlap(ours: npt.NDArray[np.int32], others: npt.NDArray[np.int32]) -> float:
    shared = [len(set(a) & set(b)) for a, b in zip(ours.tolist(), others.tolist(), strict=True)]
    return float(np.mean(shared)) / ours.shape[1]
