"""The baselines against dense oracles, and the door that all of them share."""

import numpy as np
import pytest
from pyspark.sql import DataFrame, SparkSession
from tests.support import baseline_oracles
from tests.support.executions import executions

from matchlake.errors import InputError, SchemaError
from matchlake.recommender.baselines.bias import fit_bias
from matchlake.recommender.baselines.params import BiasParams, PopularityParams
from matchlake.recommender.baselines.popularity import fit_popularity
from matchlake.recommender.linear.ease import fit_ease
from matchlake.recommender.linear.params import EaseParams

SCHEMA = "user_id string, item_id string, rating double, weight double"
USERS, ITEMS = 12, 9
NAMES = [f"i{n}" for n in range(ITEMS)]
# Biases are fitted in turn, and four turns come as near as this to the exact solution.
NEAR = {"popularity": 1e-5, "bias": 5e-3, "ease": 1e-5}
EVERYONE = [f"u{n:02d}" for n in range(USERS)]


@pytest.fixture(scope="module")
def ratings() -> np.ndarray:
    """Ratings 1 to 5, NaN where there is none; everyone has rated something."""
    rng = np.random.default_rng(11)
    table = rng.integers(1, 6, (USERS, ITEMS)).astype(float)
    table[rng.random((USERS, ITEMS)) < 0.5] = np.nan
    table[:, 0] = np.where(np.isnan(table).all(axis=1), 3, table[:, 0])
    return table


@pytest.fixture(scope="module")
def interactions(spark: SparkSession, ratings: np.ndarray) -> DataFrame:
    rows = [
        (EVERYONE[u], NAMES[i], float(ratings[u, i]), float(ratings[u, i]) / 2)
        for u, i in np.argwhere(~np.isnan(ratings))
    ]
    return spark.createDataFrame(rows, SCHEMA).repartition(3)


@pytest.fixture(scope="module")
def models(interactions: DataFrame) -> dict[str, object]:
    return {
        "popularity": fit_popularity(interactions),
        "bias": fit_bias(interactions, BiasParams(iterations=4)),
        "ease": fit_ease(interactions, EaseParams(regularization=2.0, value_column="weight")),
    }


@pytest.fixture(scope="module")
def dense_scores(ratings: np.ndarray) -> dict[str, np.ndarray]:
    """Every model's score of every user and item, by its oracle."""
    met = (~np.isnan(ratings)).astype(float)
    values = np.nan_to_num(ratings) / 2
    mean, user_bias, item_bias = baseline_oracles.biases(ratings, 5.0, 3.0)
    return {
        "popularity": np.tile(met.sum(axis=0), (USERS, 1)),
        "bias": mean + user_bias[:, None] + item_bias,
        "ease": values @ baseline_oracles.ease_weights(values, 2.0),
    }


each_model = pytest.mark.parametrize("name", ["popularity", "bias", "ease"])

Lists = dict[str, list[tuple[str, float]]]


def lists_of(frame: DataFrame) -> Lists:
    found: Lists = {}
    rows = sorted(frame.collect(), key=lambda row: (row.user_id, row.rank))
    for row in rows:
        found.setdefault(row.user_id, []).append((row.item_id, row.score))
    assert [row.rank for row in rows] == [
        place for items in found.values() for place in range(1, len(items) + 1)
    ]
    return found


def agree(got: Lists, scores: np.ndarray, wanted: dict[int, list[int]], near: float) -> None:
    """Up to ties within rounding: the scores place by place, and every item's own score."""
    assert set(got) == {EVERYONE[user] for user, items in wanted.items() if items}
    for user, items in wanted.items():
        answer = got.get(EVERYONE[user], [])
        assert [score for _, score in answer] == pytest.approx(
            [scores[user, item] for item in items], abs=near
        )
        own = {NAMES[item]: scores[user, item] for item in range(ITEMS)}
        assert [score for _, score in answer] == pytest.approx(
            [own[item] for item, _ in answer], abs=near
        )


@each_model
def test_every_pair_is_scored_as_the_oracle_does(
    spark: SparkSession, models: dict[str, object], dense_scores: dict[str, np.ndarray], name: str
) -> None:
    pairs = [(user, item, 7) for user in [*EVERYONE, "new"] for item in [*NAMES, "other"]]
    asked = spark.createDataFrame(pairs, "user_id string, item_id string, kept int")
    rows = models[name].score(asked).collect()
    assert len(rows) == len(pairs)
    assert rows[0].__fields__ == ["user_id", "item_id", "kept", "score", "is_cold_start"]
    for row in rows:
        known_user, known_item = row.user_id != "new", row.item_id != "other"
        if known_user and known_item:
            want = dense_scores[name][EVERYONE.index(row.user_id), NAMES.index(row.item_id)]
            assert row.score == pytest.approx(want, abs=NEAR[name])
        assert row.is_cold_start == (not known_item or not known_user)


@each_model
def test_lists_are_the_best_unseen_items(
    models: dict[str, object],
    interactions: DataFrame,
    ratings: np.ndarray,
    dense_scores: dict[str, np.ndarray],
    name: str,
) -> None:
    scores = dense_scores[name]
    got = lists_of(models[name].recommend_items(None, 4, exclude_seen=interactions))
    wanted = {}
    for user in range(USERS):
        seen = set(np.flatnonzero(~np.isnan(ratings[user])).tolist())
        wanted[user] = baseline_oracles.best(scores[user], 4, without=seen)
    agree(got, scores, wanted, NEAR[name])


@each_model
def test_candidates_for_all_or_for_each(
    spark: SparkSession,
    models: dict[str, object],
    dense_scores: dict[str, np.ndarray],
    name: str,
) -> None:
    users = spark.createDataFrame([("u01",), ("u02",), ("u01",)], "user_id string")
    scores = dense_scores[name]
    for_all = spark.createDataFrame([("i2",), ("i5",), ("i2",), ("gone",)], "item_id string")
    got = lists_of(models[name].recommend_items(users, 5, candidates=for_all))
    wanted = {user: baseline_oracles.best(scores[user], 5, among=[2, 5]) for user in (1, 2)}
    agree(got, scores, wanted, NEAR[name])
    own = spark.createDataFrame(
        [("u01", "i1"), ("u01", "i4"), ("u02", "i7"), ("u03", "i1")],
        "user_id string, item_id string",
    )
    got = lists_of(models[name].recommend_items(users, 1, candidates=own))
    wanted = {1: baseline_oracles.best(scores[1], 1, among=[1, 4]), 2: [7]}
    agree(got, scores, wanted, NEAR[name])
    seen = spark.createDataFrame([("u02", "i7")], "user_id string, item_id string")
    got = lists_of(models[name].recommend_items(users, 1, exclude_seen=seen, candidates=own))
    assert set(got) == {"u01"}


@each_model
def test_an_unknown_user_gets_popular_items(
    spark: SparkSession, models: dict[str, object], name: str
) -> None:
    users = spark.createDataFrame([("new",), ("u03",), (None,)], "user_id string")
    rows = models[name].recommend_items(users, 3).collect()
    assert {row.user_id: row.is_cold_start for row in rows} == {"new": True, "u03": False}
    if name != "bias":
        popular = lists_of(models["popularity"].recommend_items(users, 3))["new"]
        assert lists_of(models[name].recommend_items(users, 3))["new"] == popular


@each_model
@pytest.mark.local_only
def test_answers_are_lazy(
    spark: SparkSession, models: dict[str, object], interactions: DataFrame, name: str
) -> None:
    def ask() -> None:
        models[name].score(interactions)
        models[name].recommend_items(interactions, 3, exclude_seen=interactions)

    assert executions(spark, ask) == 0


def test_only_biases_are_ratings(models: dict[str, object]) -> None:
    rating = {name: model.predicts_ratings for name, model in models.items()}
    assert rating == {"popularity": False, "bias": True, "ease": False}


def test_popularity_counts_users_or_sums_values(spark: SparkSession) -> None:
    rows = [("a", "x", 1.0, 9.0), ("b", "x", 1.0, 1.0), ("a", "y", 1.0, 20.0), ("a", "y", 1.0, 5.0)]
    frame = spark.createDataFrame(rows, SCHEMA)
    counted = {row.item_id: row.bias for row in fit_popularity(frame).items.collect()}
    summed = fit_popularity(frame, PopularityParams(value_column="weight")).items.collect()
    assert counted == {"x": 2.0, "y": 1.0}
    assert {row.item_id: row.bias for row in summed} == {"x": 10.0, "y": 25.0}
    never = frame.selectExpr("'c' user_id", "'z' item_id", "rating", "null weight")
    again = fit_popularity(frame.union(never), PopularityParams(value_column="weight"))
    assert [row.item_id for row in again.recommend_items(None, 1).collect()] == ["y"] * 3


def test_biases_by_hand(spark: SparkSession) -> None:
    # Mean 3. Item: (4 + 4 - 6) / (2 + 2) = 1/2; a: (4 - 3 - 1/2) / (1 + 1) = 1/4, and b alike.
    rows = [("a", "x", 4.0, 1.0), ("b", "x", 4.0, 1.0), ("c", "y", 1.0, 1.0)]
    model = fit_bias(
        spark.createDataFrame(rows, SCHEMA),
        BiasParams(user_regularization=1, item_regularization=2, iterations=1),
    )
    assert model.mean == 3.0
    users = {row.user_id: row.bias for row in model.users.collect()}
    items = {row.item_id: row.bias for row in model.items.collect()}
    assert items == pytest.approx({"x": 2 / 4, "y": -2 / 3})
    assert users == pytest.approx({"a": 1 / 4, "b": 1 / 4, "c": (-2 + 2 / 3) / 2})


def test_integer_ids_and_pairs_that_come_twice(
    spark: SparkSession,
) -> None:
    rows = [(u, i) for u in range(4) for i in range(u, u + 3)]
    frame = spark.createDataFrame([*rows, *rows], "user_id long, item_id int")
    model = fit_ease(frame)
    once = fit_ease(frame.distinct())
    got, want = (m.recommend_items(None, 2, exclude_seen=frame) for m in (model, once))
    assert dict(got.dtypes)["item_id"] == "int"
    assert lists_of(got) == lists_of(want) != {}


def test_errors_have_instructions(interactions: DataFrame) -> None:
    with pytest.raises(InputError, match=r"have 9 items, but max_items is 5: .*fit slim"):
        fit_ease(interactions, EaseParams(max_items=5))
    with pytest.raises(InputError, match="interactions have no"):
        fit_bias(interactions.where("false"))
    with pytest.raises(InputError, match="There are no interactions"):
        fit_ease(interactions.where("false"))
    with pytest.raises(SchemaError, match="in interactions: weight"):
        fit_ease(interactions.drop("weight"), EaseParams(value_column="weight"))
