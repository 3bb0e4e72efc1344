"""Fits, splits and metrics of tables without Spark are those of the same rows on Spark."""

from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from pyspark.sql import DataFrame, SparkSession
from scipy.sparse import csr_matrix

from matchlake import (
    AlsParams,
    MatchboxParams,
    RankingParams,
    SplitParams,
    calibration_metrics,
    catalogue_metrics,
    fit_als,
    fit_bias,
    fit_ease,
    fit_matchbox,
    fit_popularity,
    fit_slim,
    ranking_metrics,
    rating_metrics,
    related_metrics,
    split,
)
from matchlake.features.fit import fit_features
from matchlake.recommender.matchbox.encoders import declare, encode_table
from matchlake.recommender.matchbox.encoding import encode
from matchlake.recommender.metrics import item_catalogue

USERS, ITEMS = 30, 14
SCHEMA = "user_id bigint, item_id bigint, rating double, weight double, event_time timestamp"


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    rng = np.random.default_rng(4)
    users, items = np.nonzero(rng.random((USERS, ITEMS)) < 0.4)
    order = rng.permutation(len(users))
    ratings = rng.integers(1, 6, len(users)).astype(float)
    days = pd.to_timedelta(rng.integers(0, 40, len(users)), unit="h")
    return pd.DataFrame(
        {
            "user_id": users[order],
            "item_id": items[order],
            "rating": ratings,
            "weight": ratings * 1.5,
            "event_time": pd.Timestamp("2026-01-01", tz="UTC") + days,
        }
    )


@pytest.fixture(scope="module")
def frame(spark: SparkSession, table: pd.DataFrame) -> DataFrame:
    return spark.createDataFrame(table, SCHEMA).repartition(3).localCheckpoint()


def kinds_of(table: pd.DataFrame, value: str) -> dict[str, Any]:
    shape = USERS, ITEMS
    pairs = table["user_id"].to_numpy(), table["item_id"].to_numpy()
    return {
        "pandas": table,
        "polars": pl.from_pandas(table),
        "arrow": pa.Table.from_pandas(table),
        "csr": csr_matrix((table[value].to_numpy(), pairs), shape=shape),
        "another order": table.sample(frac=1, random_state=1),
    }


@pytest.mark.parametrize("feedback", ["explicit", pytest.param("implicit", marks=pytest.mark.soak)])
def test_als_has_the_factors_of_spark(frame: DataFrame, table: pd.DataFrame, feedback: str) -> None:
    params = AlsParams.model_validate({"feedback": feedback, "rank": 4, "iterations": 3})
    expected = fit_als(frame, params).to_numpy()
    for name, rows in kinds_of(table, params.value_column).items():
        model = fit_als(rows, params)
        assert (model.user_ids, model.item_ids) == (expected.user_ids, expected.item_ids), name
        assert model.params == expected.params
        for side in ("user_factors", "item_factors", "user_bias", "item_bias"):
            np.testing.assert_array_equal(getattr(model, side), getattr(expected, side), name)


@pytest.mark.soak
def test_baselines_have_the_scores_of_spark(frame: DataFrame, table: pd.DataFrame) -> None:
    ids = table["user_id"].to_list(), table["item_id"].to_list()
    for fit in (fit_popularity, fit_bias, fit_ease, fit_slim):
        expected = fit(frame).to_numpy()
        for name, rows in kinds_of(table, "rating").items():
            model = fit(rows)
            assert model.item_ids == expected.item_ids, name
            np.testing.assert_allclose(model.score(*ids), expected.score(*ids), rtol=1e-5)
            found, lists = model.recommend_items(3, 4), expected.recommend_items(3, 4)
            assert [item for item, _ in found] == [item for item, _ in lists]


@pytest.mark.soak
def test_matchbox_has_the_posterior_of_spark(
    spark: SparkSession, frame: DataFrame, table: pd.DataFrame
) -> None:
    params = MatchboxParams(rank=2, samples=6, burn_in=4, thinning=1)
    ids = np.arange(USERS + 2)
    about = pd.DataFrame({"user_id": ids, "age": ids % 7 + 0.5, "job": [f"j{n % 3}" for n in ids]})
    features = spark.createDataFrame(about)
    expected = fit_matchbox(frame, user_features=features, params=params).to_numpy()
    pairs = [*ids.tolist(), 3], [0] * (USERS + 2) + [99]
    for name, rows in kinds_of(table, "rating").items():
        model = fit_matchbox(rows, user_features=pl.from_pandas(about), params=params)
        assert model.user_ids == expected.user_ids, name
        np.testing.assert_allclose(model.score(*pairs), expected.score(*pairs), rtol=1e-5)


def test_features_of_a_table_are_those_of_spark(spark: SparkSession) -> None:
    rows = spark.sql(
        "SELECT * FROM VALUES (1, 'b', 2.5D, array('x', 'y', 'x'), DATE'2024-02-29', true),"
        " (2, 'a', NULL, array(), NULL, false), (3, NULL, DOUBLE('NaN'), NULL, DATE'2020-01-01',"
        " NULL), (4, 'b', -1D, array('y', NULL), DATE'2024-02-29', true)"
        " AS t(user_id, letter, number, list, day, flag)"
    )
    table = rows.toArrow()
    types = {field.name: field.dataType.simpleString() for field in rows.schema}
    declared = declare(types, "user_id")
    expected = fit_features(rows, declared)
    model = fit_features(table, declared)
    assert model == expected
    vectors = {row[0]: row[1] for row in encode(rows, "user_id", expected).collect()}
    ordered = [vectors[key] for key in table["user_id"].to_pylist()]
    np.testing.assert_allclose(encode_table(table, model), ordered, rtol=1e-6)


SPLITS: dict[str, dict[str, Any]] = {
    "random": {"test_fraction": 0.3, "seed": 5},
    "cold_users": {"test_fraction": 0.3},
    "cold_items": {"test_fraction": 0.3},
    "time": {"test_fraction": 0.25},
    "user_time": {"test_fraction": 0.4},
    "last_n": {"last_n": 2},
    "recommender": {
        "training_users": 0.2,
        "cold_users": 0.1,
        "ignored_users": 0.1,
        "cold_items": 0.1,
        "ignored_items": 0.1,
        "drop_stray_cold_items": True,
    },
}


@pytest.mark.parametrize(
    "kinds",
    [("random", "user_time"), pytest.param(tuple(SPLITS), marks=pytest.mark.soak)],
    ids=("some", "all"),
)
def test_splits_put_the_rows_where_spark_does(
    frame: DataFrame, table: pd.DataFrame, kinds: tuple[str, ...]
) -> None:
    texts = table.assign(
        user_id="user number " + table["user_id"].astype(str),
        item_id="ü" * 40 + table["weight"].astype(str),
    )
    strings = frame.selectExpr(
        "concat('user number ', user_id) AS user_id",
        f"concat('{'ü' * 40}', weight) AS item_id",
        "event_time",
    )
    for kind in kinds:
        params = SplitParams.model_validate({"kind": kind, **SPLITS[kind]})
        for rows, given in ((table, frame), (texts, strings)):
            if given is strings and kind not in ("random", "cold_users"):
                continue
            expected = sorted(
                map(tuple, split(given, params).test.select("user_id", "item_id").collect())
            )
            parts = split(rows, params)
            found = sorted(zip(parts[1]["user_id"], parts[1]["item_id"], strict=True))
            assert found == expected, kind
            assert expected
            assert type(parts[0]) is pd.DataFrame
            ignored = len(rows) - len(parts[0]) - len(parts[1])
            assert (ignored > 0) == (kind == "recommender")


def same(expected: DataFrame, found: Any) -> None:
    rows = sorted(expected.collect(), key=lambda row: (row["metric"], row["k"] or 0))
    others = sorted(found.to_pylist(), key=lambda row: (row["metric"], row["k"] or 0))
    assert [(r["metric"], r["k"], r["n_samples"], r["n_skipped"]) for r in rows] == [
        (r["metric"], r["k"], r["n_samples"], r["n_skipped"]) for r in others
    ]
    for row, other in zip(rows, others, strict=True):
        assert other["value"] == pytest.approx(row["value"], rel=1e-9), row["metric"]


@pytest.fixture(scope="module")
def scored(frame: DataFrame) -> DataFrame:
    return frame.selectExpr(
        "user_id",
        "item_id",
        "IF(item_id = 3, NULL, rating) AS rating",
        "CAST(rating + (user_id * 7 + item_id * 3) % 5 - 2 AS FLOAT) AS score",
        "0.5D + (user_id + item_id) % 9 / 4 AS rating_std",
    ).localCheckpoint()


def test_metrics_of_ratings_are_those_of_spark(scored: DataFrame) -> None:
    rows = scored.toArrow()
    same(rating_metrics(scored), rating_metrics(rows))
    same(rating_metrics(scored, per_user=True), rating_metrics(rows, per_user=True))
    same(calibration_metrics(scored), calibration_metrics(rows))


@pytest.mark.soak
def test_metrics_of_lists_are_those_of_spark(
    spark: SparkSession, frame: DataFrame, scored: DataFrame
) -> None:
    lists = scored.where("(user_id + item_id) % 3 > 0 AND user_id > 4").localCheckpoint()
    truth = scored.where("(user_id * item_id) % 4 < 2").localCheckpoint()
    for options in (
        {"ks": (2, 5)},
        {"ks": (3,), "gain": "exponential", "relevant_from": 4.0},
        {"ks": (4,), "gain": "linear"},
    ):
        params = RankingParams.model_validate(options)
        same(
            ranking_metrics(lists, truth, params),
            ranking_metrics(lists.toArrow(), truth.toArrow(), params),
        )
    vectors = spark.createDataFrame(
        [(n, [float(n % 3), 1.0, -n / 5]) for n in range(ITEMS - 2)],
        "item_id bigint, factors array<double>",
    )
    few = frame.where("item_id < 12")
    catalogue = item_catalogue(few, vectors)
    tables = item_catalogue(few.toArrow(), vectors.toArrow())
    same(catalogue_metrics(lists, catalogue), catalogue_metrics(lists.toArrow(), tables))
    related = lists.selectExpr(
        "user_id",
        "row_number() OVER (PARTITION BY user_id ORDER BY item_id) AS rank",
        "item_id + 5 AS related_user_id",
    )
    rated = scored.where("rating IS NOT NULL")
    same(
        related_metrics(related, rated, "user_id", 3),
        related_metrics(related.toArrow(), rated.toArrow(), "user_id", 3),
    )
