"""Counts for the pictures of a run, from Spark."""

import pytest
from pyspark.sql import SparkSession

from matchlake.training.plots import interval_coverage


def test_coverage_counts_the_ratings_within_each_interval(spark: SparkSession) -> None:
    # Errors of 0.1 to 1 standard deviations: the interval of 50 % reaches to 0.6745 of them.
    scored = spark.range(1, 11).selectExpr(
        "3D AS rating", "CAST(3 + id / 5 AS FLOAT) AS score", "2D AS rating_std"
    )
    found = dict(interval_coverage(scored))
    assert found[0.5] == pytest.approx(0.6)
    assert found[0.95] == 1.0
    assert found[0.05] == 0.0
    assert list(found.values()) == sorted(found.values())
    assert interval_coverage(scored.where("score < 0")) == []
