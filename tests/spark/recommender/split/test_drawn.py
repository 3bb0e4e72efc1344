"""Splits by draws: the shares come out, and cold means cold."""

from collections import Counter

import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from matchlake.recommender.split import (
    SplitParams,
    split_cold_items,
    split_cold_users,
    split_random,
    split_recommender,
)

USERS, ITEMS = 2_000, 50


@pytest.fixture(scope="module")
def grid(spark: SparkSession) -> DataFrame:
    """Every user met every item, by integer keys."""
    return spark.range(USERS * ITEMS).select(
        (F.col("id") % USERS).alias("user_id"), F.floor(F.col("id") / USERS).alias("item_id")
    )


def pairs(frame: DataFrame) -> set[tuple[int, int]]:
    table = frame.toArrow()
    return set(zip(table["user_id"].to_pylist(), table["item_id"].to_pylist(), strict=True))


def near(share: float, of: int) -> object:
    """Within five standard deviations of the binomial count."""
    return pytest.approx(share * of, abs=5 * (share * (1 - share) * of) ** 0.5)


def test_pairs_users_and_items_are_drawn_by_their_fraction(grid: DataFrame) -> None:
    test = pairs(split_random(grid, 0.2).test)
    assert len(test) == near(0.2, USERS * ITEMS)
    assert len({u for u, _ in test}) == USERS

    split_where = split_cold_users(grid, 0.2)
    train, test = pairs(split_where.train), pairs(split_where.test)
    assert not {u for u, _ in train} & {u for u, _ in test}
    assert len({u for u, _ in test}) == near(0.2, USERS)

    split_where = split_cold_items(grid, 0.2)
    train, test = pairs(split_where.train), pairs(split_where.test)
    assert not {i for _, i in train} & {i for _, i in test}
    assert len({i for _, i in test}) == near(0.2, ITEMS)


def test_a_user_drawn_stays_drawn_when_others_leave(grid: DataFrame) -> None:
    half = grid.where(F.col("user_id") < USERS // 2)
    all_cold = {u for u, _ in pairs(split_cold_users(grid, 0.2).test)}
    some_cold = {u for u, _ in pairs(split_cold_users(half, 0.2).test)}
    assert some_cold == {u for u in all_cold if u < USERS // 2}


def test_recommender_split_gives_each_group_its_fraction(grid: DataFrame) -> None:
    split_where = split_recommender(
        grid,
        SplitParams(
            kind="recommender",
            training_users=0.4,
            kept_ratings=0.25,
            cold_users=0.1,
            cold_items=0.2,
            ignored_users=0.1,
            ignored_items=0.1,
        ),
    )
    train, test = pairs(split_where.train), pairs(split_where.test)
    assert not train & test
    trained_items = {i for _, i in train}
    cold_items = {i for i, n in Counter(i for _, i in test).items() if n == USERS}
    ignored_items = set(range(ITEMS)) - trained_items - cold_items
    assert not trained_items & cold_items
    assert len(cold_items) == near(0.2, ITEMS)
    assert len(ignored_items) == near(0.1, ITEMS)

    kept = Counter(u for u, _ in train)
    warm_test = Counter(u for u, i in test if i not in cold_items)
    warm = len(trained_items)
    training = {u for u, n in kept.items() if n == warm}
    cold = {u for u, n in warm_test.items() if n == warm}
    shared = set(kept) & set(warm_test)
    assert len(training) == near(0.4, USERS)
    assert len(cold) == near(0.1, USERS)
    assert USERS - len(training | cold | shared) == near(0.1, USERS)
    assert not cold & set(kept)
    assert {kept[u] for u in shared} == {int(0.25 * warm + 0.5)}
    assert {warm_test[u] for u in shared} == {warm - int(0.25 * warm + 0.5)}


def test_a_test_user_keeps_one_rating_for_training(spark: SparkSession) -> None:
    lonely = spark.range(30).select(F.col("id").alias("user_id"), F.lit(1).alias("item_id"))
    params = SplitParams(kind="recommender", training_users=0.0, kept_ratings=0.0)
    split_where = split_recommender(lonely, params)
    assert (split_where.train.count(), split_where.test.count()) == (30, 0)


def test_unplanned_cold_start_items_go_and_drawn_ones_stay(spark: SparkSession) -> None:
    # Every user has an item of their own, so a cold user's own item is cold by chance.
    rows = spark.range(200).select(
        F.col("id").alias("user_id"),
        F.explode(F.array("id", F.lit(-1), F.lit(-2))).alias("item_id"),
    )
    base = {"kind": "recommender", "training_users": 0.5, "cold_users": 0.5, "cold_items": 0.3}
    all_of = split_recommender(rows, SplitParams(**base))
    kept = split_recommender(rows, SplitParams(**base, drop_stray_cold_items=True))
    train, test = pairs(all_of.train), pairs(all_of.test)
    assert pairs(kept.train) == train
    # The same draw as that of the split by cold items.
    drawn = {i for _, i in pairs(split_cold_items(rows, 0.3).test)}
    known = {i for _, i in train} | drawn
    assert {i for _, i in test} - known
    assert pairs(kept.test) == {(u, i) for u, i in test if i in known}
