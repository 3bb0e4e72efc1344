"""Related NDCG and calibration against plain loops over the definitions."""

from collections import defaultdict

import numpy as np
import pytest
from pyspark.sql import SparkSession
from scipy import stats

from matchlake.recommender.metrics import (
    calibration_by_width,
    calibration_metrics,
    related_metrics,
)

K, COMMON = 3, 2


def gains(rated: dict[str, dict[str, float]], norm: str) -> dict[tuple[str, str], float]:
    found = {}
    for a, mine in rated.items():
        for b, theirs in rated.items():
            both = mine.keys() & theirs.keys()
            if a == b or len(both) < COMMON:
                continue
            away = np.array([mine[other] - theirs[other] for other in both])
            size = np.abs(away).mean() if norm == "l1" else np.sqrt((away**2).mean())
            found[a, b] = 1 / (1 + size)
    return found


def ndcg(lists: dict[str, list[str]], rated: dict[str, dict[str, float]], norm: str) -> list[float]:
    table, values = gains(rated, norm), []
    for query, targets in lists.items():
        best = sorted((g for (a, _), g in table.items() if a == query), reverse=True)
        discount = 1 / np.log2(np.arange(2, K + 2))
        checkpoint = targets[:K]
        ideal = sum(g * d for g, d in zip(best[: len(checkpoint)], discount, strict=False))
        gained = sum(
            table.get((query, t), 0.0) * d for t, d in zip(checkpoint, discount, strict=False)
        )
        if ideal > 0:
            values.append(gained / ideal)
    return values


@pytest.mark.parametrize("key", ["user_id", "item_id"])
def test_related_ndcg_is_that_of_the_definition(spark: SparkSession, key: str) -> None:
    chance = np.random.default_rng(4)
    truth = [
        (f"u{u}", f"i{i}", float(chance.integers(1, 6)))
        for u in range(12)
        for i in range(9)
        if chance.random() < 0.4
    ]
    truth.append(("alone", "rare", 3.0))
    rated: dict[str, dict[str, float]] = defaultdict(dict)
    for user, item, rating in truth:
        mine, other = (user, item) if key == "user_id" else (item, user)
        rated[mine][other] = rating
    lists = {
        query: [name for name in chance.permutation(list(rated)) if name != query][:5]
        for query in rated
    }
    rows = [(q, n, t) for q, targets in lists.items() for n, t in enumerate(targets, 1)]
    found = related_metrics(
        spark.createDataFrame(rows, f"{key} string, rank int, related_{key} string"),
        spark.createDataFrame(truth, "user_id string, item_id string, rating double"),
        key,
        K,
        COMMON,
    ).collect()
    figures = {row["metric"]: row for row in found}
    plural = "users" if key == "user_id" else "items"
    for norm in ("l1", "l2"):
        row, values = figures[f"related_{plural}_ndcg_{norm}"], ndcg(lists, rated, norm)
        assert row["k"] == K
        assert row["n_samples"] == len(values)
        assert row["n_samples"] + row["n_skipped"] == len(rated)
        assert row["value"] == pytest.approx(np.mean(values))


def test_calibration_measures_coverage_and_detects_wrong_widths(spark: SparkSession) -> None:
    chance = np.random.default_rng(5)
    deviation = chance.uniform(0.5, 2.0, 20_000)
    error = chance.standard_normal(20_000) * deviation
    rows = [(3.0, 3.0 + e, d) for e, d in zip(error.tolist(), deviation.tolist(), strict=True)]
    scored = spark.createDataFrame(
        [*rows, (None, 3.0, 1.0)], "rating double, score double, rating_std double"
    )
    figures = {row["metric"]: row["value"] for row in calibration_metrics(scored).collect()}
    half = stats.norm.ppf(0.95)
    assert figures["interval_coverage_90"] == pytest.approx(
        np.mean(np.abs(error) <= half * deviation)
    )
    assert (
        0.86
        < figures["interval_coverage_90_min"]
        < figures["interval_coverage_90"]
        < figures["interval_coverage_90_max"]
    )
    density = stats.norm.logpdf(error, 0.0, deviation).mean()
    constant = stats.norm.logpdf(error, 0.0, np.sqrt((error**2).mean())).mean()
    assert figures["log_likelihood"] == pytest.approx(density)
    assert figures["log_likelihood_constant"] == pytest.approx(constant)
    assert figures["log_likelihood"] > figures["log_likelihood_constant"]
    # One width for all: too wide where errors are small, too narrow where they are large.
    table = calibration_by_width(scored).orderBy("tenth").collect()
    assert [row["tenth"] for row in table] == list(range(1, 11))
    assert sum(row["n_rows"] for row in table) == 20_000
    assert all(0.87 < row["inside"] < 0.93 for row in table)
