import math

import pytest
from hypothesis import strategies as st
from pyspark.sql import SparkSession
from tests.support import metric_oracles
from tests.support.cases import many

from matchlake.recommender.metrics import rating_metrics, rating_metrics_by_user

SCORED = "user_id string, rating double, score double"

VALUES = st.one_of(st.none(), st.floats(-10, 10, allow_nan=False, width=32))
CASES = st.lists(st.tuples(VALUES, VALUES), min_size=1, max_size=6)


def test_known_answers_pooled_and_per_user(spark: SparkSession) -> None:
    # ann is off by 1 and 3, bob by 2 once and not judged once, cid not judged at all.
    scored = spark.createDataFrame(
        [
            ("ann", 4.0, 5.0),
            ("ann", 4.0, 1.0),
            ("bob", 3.0, 5.0),
            ("bob", None, 5.0),
            ("cid", 3.0, None),
        ],
        SCORED,
    )
    pooled = {row.metric: tuple(row)[1:] for row in rating_metrics(scored).collect()}
    assert pooled == {
        "rmse": (None, pytest.approx(math.sqrt((1 + 9 + 4) / 3)), 3, 2),
        "mae": (None, pytest.approx((1 + 3 + 2) / 3), 3, 2),
    }
    users = {row.metric: tuple(row)[1:] for row in rating_metrics(scored, per_user=True).collect()}
    assert users == {
        "rmse": (None, pytest.approx((math.sqrt((1 + 9) / 2) + 2) / 2), 2, 1),
        "mae": (None, pytest.approx(((1 + 3) / 2 + 2) / 2), 2, 1),
    }


def test_each_user_and_the_pool_agree_with_the_oracle(spark: SparkSession) -> None:
    cases = many(CASES, 300)
    rows = [(f"u{n}", *pair) for n, pairs in enumerate(cases) for pair in pairs]
    scored = spark.createDataFrame(rows, SCORED)
    wrong = []
    for row in rating_metrics_by_user(scored).collect():
        pairs = cases[int(row.user_id[1:])]
        rmse, mae, n = metric_oracles.rating(pairs)
        want = (pytest.approx(rmse), pytest.approx(mae), n) if n else (None, None, 0)
        if (row.rmse, row.mae, row.n_rows) != want:
            wrong.append((pairs, row))
    assert wrong == []
    rmse, mae, n = metric_oracles.rating([pair for pairs in cases for pair in pairs])
    got = {
        row.metric: (row.value, row.n_samples, row.n_skipped)
        for row in rating_metrics(scored).collect()
    }
    skipped = len(rows) - n
    assert got == {
        "rmse": (pytest.approx(rmse), n, skipped),
        "mae": (pytest.approx(mae), n, skipped),
    }


def test_a_broken_score_shows_and_no_rows_give_no_value(spark: SparkSession) -> None:
    broken = spark.createDataFrame([("u", 1.0, math.nan), ("u", 1.0, 1.0)], SCORED)
    assert all(math.isnan(row.value) for row in rating_metrics(broken).collect())
    none = rating_metrics(broken.where("false")).collect()
    assert [tuple(row) for row in none] == [("rmse", None, None, 0, 0), ("mae", None, None, 0, 0)]
