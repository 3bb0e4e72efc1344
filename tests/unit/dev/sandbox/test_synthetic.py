"""Synthetic interactions: their planted truth is found in them, however they are asked for."""

from itertools import permutations
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from matchlake.dev.sandbox.sampling import sample_distinct
from matchlake.dev.sandbox.synthetic import (
    Planted,
    SyntheticParams,
    iterate_interactions,
    plant,
    write_interactions,
)

SOME = SyntheticParams(users=2_000, items=500, interactions=100_000, seed=7)


def draw(planted: Planted, rows: int = 1_000_000) -> pa.Table:
    return pa.concat_tables(iterate_interactions(planted, rows)).combine_chunks()


def pairs(table: pa.Table) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    return (
        table["user_id"].cast(pa.int64()).to_numpy(),
        table["item_id"].cast(pa.int64()).to_numpy(),
    )


def test_schema_times_and_counts() -> None:
    planted = plant(SOME)
    table = draw(planted)
    assert table.schema == pa.schema(
        {
            "user_id": pa.string(),
            "item_id": pa.string(),
            "rating": pa.float64(),
            "event_time": pa.timestamp("us", "UTC"),
        }
    )
    users, _ = pairs(table)
    np.testing.assert_array_equal(np.bincount(users), planted.activity)
    seconds = table["event_time"].cast(pa.int64()).to_numpy() / 1e6
    start = SOME.start.timestamp()
    assert start <= seconds.min() < start + 86_400
    assert start + 364 * 86_400 < seconds.max() < start + 365 * 86_400


def test_a_seed_gives_the_same_rows_in_any_chunks() -> None:
    # Enough rows for several blocks.
    params = SyntheticParams(users=3_000, items=1_000, interactions=600_000, seed=3)
    planted = plant(params)
    whole = draw(planted, rows=600_000)
    np.testing.assert_array_equal(np.bincount(pairs(whole)[0]), planted.activity)
    assert draw(plant(params), rows=70_001).equals(whole)
    sizes = [table.num_rows for table in iterate_interactions(plant(params), 70_001)]
    assert sizes == [70_001] * 8 + [600_000 - 8 * 70_001]
    assert not draw(plant(params.model_copy(update={"seed": 4}))).equals(whole)


def test_blocks_are_independent_of_each_other() -> None:
    # All users alike, so that blocks that shared their random numbers would be much the same.
    params = SyntheticParams(
        users=60_000, items=50_000, interactions=600_000, zipf=0, activity_spread=0
    )
    times = draw(plant(params))["event_time"].cast(pa.int64()).to_numpy()
    assert len(np.unique(times)) > 599_900


def test_explicit_ratings_are_the_planted_ones_plus_noise() -> None:
    planted = plant(SOME)
    table = draw(planted)
    noise = table["rating"].to_numpy() - planted.expected(*pairs(table))
    # Four standard errors of a mean and of a deviation over 100,000 normal draws.
    assert abs(noise.mean()) < 4 * 0.5 / np.sqrt(1e5)
    assert noise.std() == pytest.approx(0.5, abs=4 * 0.5 / np.sqrt(2e5))
    affinity = planted.affinity(*pairs(table))
    assert abs(np.corrcoef(noise, affinity)[0, 1]) < 4 / np.sqrt(1e5)

    # By hand, for one pair.
    user, item = (int(ids[5]) for ids in pairs(table))
    by_hand = 3.5 + planted.user_biases[user] + planted.item_biases[item]
    by_hand += planted.user_factors[user] @ planted.item_factors[item]
    one = planted.expected(np.array([user]), np.array([item]))
    assert one[0] == pytest.approx(by_hand)


def test_implicit_strengths_are_the_planted_ones_times_noise() -> None:
    planted = plant(SOME.model_copy(update={"feedback": "implicit"}))
    table = draw(planted)
    strength = table["strength"].to_numpy()
    assert (strength > 0).all()
    noise = np.log(strength) - planted.affinity(*pairs(table))
    assert abs(noise.mean()) < 4 * 0.5 / np.sqrt(1e5)
    assert noise.std() == pytest.approx(0.5, abs=4 * 0.5 / np.sqrt(2e5))


def test_spreads_are_those_asked_for() -> None:
    params = SyntheticParams(
        users=20_000, items=20_000, interactions=20_000, bias_std=0.4, signal_std=0.7, rank=16
    )
    planted = plant(params)
    random = np.random.default_rng(0)
    affinity = planted.affinity(*random.integers(0, 20_000, (2, 200_000)))
    assert affinity.std() == pytest.approx(0.7, rel=0.05)
    assert planted.user_biases.std() == pytest.approx(0.4, rel=0.03)
    assert planted.item_biases.std() == pytest.approx(0.4, rel=0.03)


def test_popularity_is_zipf_and_scattered_over_the_ids() -> None:
    # One item a user: then every draw is a plain one, and shares are exact.
    params = SyntheticParams(users=50_000, items=200, interactions=50_000, zipf=1.2)
    planted = plant(params)
    expected = np.arange(1, 201) ** -1.2
    np.testing.assert_allclose(-np.sort(-planted.popularity), expected / expected.sum())
    assert planted.popularity.argmax() != 0
    _, items = pairs(draw(planted))
    share = np.bincount(items, minlength=200) / 50_000
    error = np.sqrt(planted.popularity * (1 - planted.popularity) / 50_000)
    assert (np.abs(share - planted.popularity) < 4.5 * error).all()


def test_taste_draws_users_to_what_suits_them() -> None:
    params = SyntheticParams(
        users=40_000, items=20, interactions=40_000, zipf=0, taste=3.0, signal_std=1.0, rank=2
    )
    planted = plant(params)
    users, items = pairs(draw(planted))
    every = np.repeat(np.arange(40_000), 20), np.tile(np.arange(20), 40_000)
    weights = 1 / (1 + np.exp(-3.0 * planted.affinity(*every)))
    shares = weights.reshape(40_000, 20)
    shares /= shares.sum(axis=1, keepdims=True)
    expected = shares.sum(axis=0)
    error = np.sqrt((shares * (1 - shares)).sum(axis=0))
    assert (np.abs(np.bincount(items, minlength=20) - expected) < 4.5 * error).all()
    assert planted.affinity(users, items).mean() > 0.2


@pytest.mark.parametrize("count", [4, 30], ids=["all at once", "by rounds"])
def test_draws_without_replacement_have_exact_chances(count: int) -> None:
    weights = np.array([8.0, 4.0, 2.0, 1.0] + [0.25] * (count - 4))
    people = 60_000
    users, items = sample_distinct(
        np.random.default_rng(1), weights, np.full(people, 2), lambda _, i: 1 / (1.0 + (i == 0))
    )
    assert np.array_equal(users, np.repeat(np.arange(people), 2))
    effective = weights / (1.0 + (np.arange(count) == 0))
    effective /= effective.sum()
    drawn = items.reshape(people, 2)
    for first, second in permutations(range(4), 2):
        chance = effective[first] * effective[second] / (1 - effective[first])
        found = ((drawn[:, 0] == first) & (drawn[:, 1] == second)).mean()
        assert found == pytest.approx(chance, abs=4.5 * np.sqrt(chance / people))


def test_what_rounds_leave_is_drawn_from_the_rest() -> None:
    # One item takes nearly all draws: rounds alone would hardly ever find eight others.
    weights = np.array([1e9] + [1.0] * 99)
    users, items = sample_distinct(np.random.default_rng(1), weights, np.full(500, 9))
    assert len(np.unique(users * 100 + items)) == 4_500
    assert (np.bincount(users) == 9).all()
    others = np.bincount(items, minlength=100)[1:]
    assert others.sum() == 4_000
    # Each of 99 is as likely: mean 40.4, deviation 6.1.
    assert others.min() > 15
    assert others.max() < 70


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_every_pair_comes_once_and_all_rows_come(data: st.DataObject) -> None:
    users = data.draw(st.integers(1, 30), "users")
    items = data.draw(st.integers(1, 30), "items")
    params = SyntheticParams(
        users=users,
        items=items,
        interactions=data.draw(st.integers(users, users * items), "interactions"),
        zipf=data.draw(st.floats(0, 3), "zipf"),
        activity_spread=data.draw(st.floats(0, 3), "spread"),
        taste=data.draw(st.sampled_from([0.0, 2.0]), "taste"),
        rank=2,
    )
    planted = plant(params)
    found = list(zip(*(ids.tolist() for ids in pairs(draw(planted, rows=7))), strict=True))
    assert len(found) == len(set(found)) == params.interactions
    assert {user for user, _ in found} == set(range(users))
    assert max(item for _, item in found) < items
    assert planted.activity.max() <= items


def test_stars_are_half_stars() -> None:
    table = draw(plant(SOME.model_copy(update={"stars": True, "noise_std": 2.0})))
    assert sorted(set(table["rating"].to_pylist())) == [n / 2 for n in range(1, 11)]


def test_files_hold_the_same_rows(tmp_path: Path) -> None:
    planted = plant(SOME)
    paths = write_interactions(planted, tmp_path / "set", rows=40_000)
    assert [path.name for path in paths] == [f"part-{n:05}.parquet" for n in range(3)]
    assert pa.concat_tables(pq.read_table(path) for path in paths).equals(draw(planted))


@pytest.mark.parametrize("interactions", [9, 51])
def test_impossible_counts_are_refused(interactions: int) -> None:
    with pytest.raises(ValidationError, match=r"between users \(10\) and users \* items \(50\)"):
        SyntheticParams(users=10, items=5, interactions=interactions)
