"""The scoring modes from a factor model whose answers are known."""

from dataclasses import replace

import numpy as np
import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from matchlake.recommender.als.model import FactorModel
from matchlake.recommender.als.params import AlsParams
from matchlake.recommender.azure_modes import recommend_rated_items
from matchlake.recommender.protocol import Pools
from matchlake.training.evaluation import rated_items_metrics
from matchlake.training.params import AzureMlModesParams

USERS = {"a": [1.0, 0.0], "b": [0.9, 0.1], "c": [-1.0, 0.5], "d": [0.0, 1.0]}
ITEMS = {"p": [1.0, 0.0], "q": [0.8, 0.2], "r": [0.0, 1.0], "s": [-1.0, 0.0], "t": [-1.1, 0.1]}


@pytest.fixture(scope="module")
def model(spark: SparkSession) -> FactorModel:
    users = [(key, n, row, 0.1 * n, 3) for n, (key, row) in enumerate(USERS.items())]
    items = [(key, n, row, 0.05 * n, 3) for n, (key, row) in enumerate(ITEMS.items())]
    columns = "{} string, {} long, factors array<float>, bias float, n_interactions long"
    return FactorModel(
        user_factors=spark.createDataFrame(users, columns.format("user_id", "user_idx")),
        item_factors=spark.createDataFrame(items, columns.format("item_id", "item_idx")),
        mean=3.0,
        params=AlsParams(feedback="explicit", rank=2),
    )


@pytest.fixture(scope="module")
def rated(spark: SparkSession) -> DataFrame:
    pairs = ["ap", "aq", "ar", "bp", "bq", "bs", "cs", "ct", "cp", "dr", "new p"]
    rows = [(pair[:-1].strip(), pair[-1]) for pair in pairs]
    return spark.createDataFrame(rows, "user_id string, item_id string")


def oracle(rows: dict[str, list[float]], others: dict[str, list[float]], step: float) -> np.ndarray:
    """Distances by the density of equal ratings of any two `rows`, in f64.

    The n-th bias is `step * n`.
    """
    mine, theirs = np.array(list(rows.values())), np.array(list(others.values()))
    centre, covariance = theirs.mean(axis=0), np.cov(theirs.T, ddof=0)
    bias = step * np.arange(len(mine))
    away = mine[:, None] - mine[None]
    mean = bias[:, None] - bias[None] + away @ centre
    variance = 2 + np.einsum("abk,kl,abl->ab", away, covariance, away)
    density = -0.5 * (np.log(2 * np.pi * variance) + mean**2 / variance)
    return np.sqrt(4 * np.maximum(-0.5 * np.log(4 * np.pi) - density, 0))


def test_rated_items_are_ranked_and_small_pools_skipped(
    model: FactorModel, rated: DataFrame
) -> None:
    found = recommend_rated_items(model, rated, 2)
    lists: dict[str, list[str]] = {}
    for row in found.lists.orderBy("user_id", "rank").collect():
        lists.setdefault(row["user_id"], []).append(row["item_id"])
    assert lists == {"a": ["p", "q"], "b": ["p", "q"], "c": ["t", "s"]}
    skipped = {row["user_id"]: row["pool"] for row in found.skipped.collect()}
    assert skipped == {"d": 1, "new": 1}


def test_users_of_small_pools_are_not_evaluated(model: FactorModel, rated: DataFrame) -> None:
    clip_range = {"ap": 5.0, "aq": 4.0, "bp": 5.0, "bq": 4.0, "ct": 1.0, "cs": 2.0, "cp": 4.0}
    rating = F.create_map(*[F.lit(part) for pair in clip_range.items() for part in pair])
    starred = F.coalesce(rating[F.concat("user_id", "item_id")], F.lit(1.0))
    test = rated.withColumn("rating", starred)
    figure = rated_items_metrics(model, test, AzureMlModesParams(k=2)).collect()[0]
    # a and b get p, q, which is the best order; c gets t, s; d and new have one item each.
    second = 2 / np.log2(3)
    expected = np.mean([1, 1, (1 + second) / (4 + second)])
    assert (figure["metric"], figure["k"], figure["n_samples"]) == ("rated_ndcg", 2, 3)
    assert figure["value"] == pytest.approx(expected)


def test_related_items_are_those_of_the_oracle(model: FactorModel, rated: DataFrame) -> None:
    scores = oracle(ITEMS, USERS, 0.05)
    np.fill_diagonal(scores, np.inf)
    names = list(ITEMS)
    found = model.related_items(None, 3).lists.orderBy("item_id", "rank").collect()
    assert len(found) == 15
    for row in found:
        query = names.index(row["item_id"])
        expected = np.argsort(scores[query], kind="stable")[row["rank"] - 1]
        assert row["related_item_id"] == names[expected]
        assert row["score"] == pytest.approx(scores[query, expected], abs=1e-4)

    # p and q share the raters a and b, p and s share b and c; no others share two.
    among = model.related_items(None, 3, rated=rated, pools=Pools(min_candidates=1))
    assert [tuple(row)[:3] for row in among.lists.orderBy("item_id", "rank").collect()] == [
        ("p", 1, "q"),
        ("p", 2, "s"),
        ("q", 1, "p"),
        ("s", 1, "p"),
    ]
    assert {row["item_id"]: row["pool"] for row in among.skipped.collect()} == dict.fromkeys(
        "rt", 0
    )


def test_rows_without_ratings_are_queries_but_no_candidates(
    spark: SparkSession, model: FactorModel
) -> None:
    cold = [("cold", 9, [5.0, 5.0], 0.0, 0)]
    items = model.item_factors.union(spark.createDataFrame(cold, model.item_factors.schema))
    users = model.user_factors.union(spark.createDataFrame(cold, model.user_factors.schema))
    wide_model = replace(model, user_factors=users, item_factors=items)
    scores = oracle(ITEMS, USERS, 0.05)
    names, asked = list(ITEMS), set()
    for row in wide_model.related_items(None, 9).lists.collect():
        asked.add(row["item_id"])
        assert row["related_item_id"] in ITEMS
        if row["item_id"] in ITEMS:
            pair = names.index(row["item_id"]), names.index(row["related_item_id"])
            assert row["score"] == pytest.approx(scores[pair], abs=1e-4)
    assert asked == {*ITEMS, "cold"}
    few = wide_model.related_items(None, 9, pools=Pools(min_candidates=len(ITEMS)))
    assert {row["item_id"]: row["pool"] for row in few.skipped.collect()} == dict.fromkeys(ITEMS, 4)


@pytest.mark.soak
def test_related_users_are_those_of_the_oracle(model: FactorModel, rated: DataFrame) -> None:
    wanted = model.user_factors.where("user_id in ('a', 'c')")
    found = model.related_users(wanted, 2)
    scores = oracle(USERS, ITEMS, 0.1)
    np.fill_diagonal(scores, np.inf)
    names = list(USERS)
    expected = {
        key: tuple(names[n] for n in np.argsort(scores[names.index(key)], kind="stable")[:2])
        for key in "ac"
    }
    rows = found.lists.orderBy("user_id", "rank").collect()
    assert [(row["user_id"], row["related_user_id"]) for row in rows] == [
        (key, other) for key, others in expected.items() for other in others
    ]
    assert found.skipped.count() == 0
    none = model.related_users(wanted, 2, rated=rated)
    assert none.lists.count() == 0
    assert {row["user_id"]: row["pool"] for row in none.skipped.collect()} == {"a": 1, "c": 1}
