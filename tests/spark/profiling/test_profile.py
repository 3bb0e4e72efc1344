"""Histograms, bar charts and drift against NumPy's own counting."""

from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pyspark.sql import DataFrame, SparkSession
from tests.support.executions import executions

from matchlake.errors import SchemaError
from matchlake.profiling.drift import drift
from matchlake.profiling.histogram import count_cells
from matchlake.profiling.params import ProfileParams
from matchlake.profiling.plots import draw_column
from matchlake.profiling.profile import profile

SCHEMA = "x DOUBLE, n INT, c STRING, l ARRAY<STRING>, t TIMESTAMP"
GENERATOR = np.random.default_rng(5)
X = np.concatenate([GENERATOR.normal(50, 20, 400), [0.0, -0.0, 5e-324, -1e-9, 127.99, 128.0]])


def frame(spark: SparkSession) -> DataFrame:
    rows = [
        (float(x), i % 7, "abcd"[min(i % 5, 3)], ["p", "q", "p"][: i % 4]) for i, x in enumerate(X)
    ]
    day = datetime(2024, 2, 29, 13)
    full = [(*row, day) for row in rows]
    extra = [(float("nan"), None, None, None, None), (float("-inf"), 3, "", [], None)]
    return spark.createDataFrame([*full, *extra], SCHEMA)


@pytest.fixture(scope="module")
def profiled(spark: SparkSession) -> pd.DataFrame:
    return profile(frame(spark), ProfileParams(bins=12, top=2)).toPandas()


def of(profiled: pd.DataFrame, column: str, kind: str) -> pd.DataFrame:
    chosen = (profiled["column_name"] == column) & (profiled["kind"] == kind)
    return profiled[chosen].sort_values(["bin_low", "rows"])


def test_profile_histogram_counts_are_exact(profiled: pd.DataFrame) -> None:
    found = of(profiled, "x", "histogram")
    widths = (found["bin_high"] - found["bin_low"]).unique()
    assert widths.tolist() == [16.0]
    for row in found.itertuples():
        assert row.rows == ((row.bin_low <= X) & (row.bin_high > X)).sum()
    assert found["rows"].sum() == len(X)
    assert (found["density"] * 16).sum() == pytest.approx(1)
    assert found["fraction"].sum() == pytest.approx(len(X) / (len(X) + 2))
    assert of(profiled, "x", "not_finite")["rows"].tolist() == [2]


def test_profile_integers_have_bins_of_at_least_one(profiled: pd.DataFrame) -> None:
    found = of(profiled, "n", "histogram")
    assert found["bin_low"].tolist() == list(range(7))
    assert (found["bin_high"] - found["bin_low"] == 1).all()
    assert of(profiled, "n", "null")["rows"].tolist() == [1]


def test_profile_bars_are_the_most_frequent_and_the_rest(profiled: pd.DataFrame) -> None:
    bars = of(profiled, "c", "bar").set_index("category")["rows"]
    assert bars.to_dict() == {"d": 162, "a": 82}
    assert of(profiled, "c", "other")["rows"].tolist() == [len(X) - 162 - 82 + 1]
    assert of(profiled, "c", "null")["rows"].tolist() == [1]
    lists = of(profiled, "l", "bar").set_index("category")["rows"]
    assert lists.to_dict() == {"p": 304, "q": 202}
    days = of(profiled, "t", "timeline")
    first = pd.Timestamp("2024-02-29") - pd.Timestamp(0)
    assert days[["bin_low", "bin_high", "rows"]].to_numpy().tolist() == [
        [first.days, first.days + 1, len(X)]
    ]
    assert of(profiled, "t", "null")["rows"].tolist() == [2]


@pytest.mark.parametrize("bins", [1, 3, 20, 500])
def test_profile_bins_are_exact_at_any_width_and_scale(spark: SparkSession, bins: int) -> None:
    scales = np.array([1e-300, 1e-3, 1.0, 1e9, 1e300])
    values = [float(v) for v in np.outer(scales, GENERATOR.normal(size=40)).ravel()]
    given = spark.createDataFrame([(v, 1e6 + v % 1) for v in values], "wide DOUBLE, far DOUBLE")
    found = profile(given, ProfileParams(bins=bins)).toPandas()
    columns = given.toPandas()
    for name, rows in found.groupby("column_name"):
        width = (rows["bin_high"] - rows["bin_low"]).iloc[0]
        assert np.log2(width) == round(np.log2(width))
        assert len(rows) <= bins + 2
        counted = (np.floor(columns[name] / width) * width).value_counts()
        assert rows.set_index("bin_low")["rows"].to_dict() == counted.to_dict()


def test_profile_other_types_raise_and_are_named(spark: SparkSession) -> None:
    given = spark.sql("SELECT 1 AS a, map('k', 1) AS m")
    assert profile(given, ProfileParams()).select("column_name").distinct().count() == 1
    with pytest.raises(SchemaError, match=r"m, z cannot be profiled\. Columns that can: a"):
        profile(given, ProfileParams(), ["a", "m", "z"])
    with pytest.raises(SchemaError, match="The table cannot be profiled"):
        profile(given.select("m"), ProfileParams())


def test_drift_equal_tables_is_zero(spark: SparkSession) -> None:
    for row in drift(frame(spark), frame(spark)).collect():
        assert row.psi == pytest.approx(0, abs=1e-12)
        assert row.ks in (0, None)
        assert row.new_categories == row.gone_categories == []


def test_drift_measures_the_change(spark: SparkSession) -> None:
    before = spark.createDataFrame(
        [(float(i), "a" if i < 60 else "b") for i in range(100)], "x DOUBLE, c STRING"
    )
    after = spark.createDataFrame(
        [(float(i) + 25, "a" if i < 20 else None if i < 30 else "z") for i in range(100)],
        "x DOUBLE, c STRING",
    )
    found = {row.column_name: row for row in drift(before, after, bins=16).collect()}
    x, c = found["x"], found["c"]
    assert x.ks == pytest.approx(0.25)
    assert c.ks is None
    assert (c.new_categories, c.gone_categories) == (["z"], ["b"])
    assert (c.null_fraction_before, c.null_fraction_after) == (0, pytest.approx(0.1))
    assert (x.before_rows, x.after_rows) == (100, 100)

    def psi(b: Any, a: Any) -> float:
        b, a = (np.array(side) + 0.5 for side in (b, a))
        b, a = b / b.sum(), a / a.sum()
        return float(((a - b) * np.log(a / b)).sum())

    assert c.psi == pytest.approx(psi([60, 40, 0, 0], [20, 0, 70, 10]))
    edges = np.arange(0, 129, 8)
    counts = [np.histogram(np.arange(100) + shift, edges)[0] for shift in (0, 25)]
    there = (counts[0] + counts[1]) > 0
    assert x.psi == pytest.approx(psi(counts[0][there], counts[1][there]))


def test_draw_column_shows_every_bin_and_bar(profiled: pd.DataFrame) -> None:
    for column, rows in profiled.groupby("column_name"):
        axes = draw_column(rows, f"a.{column}").axes[0]
        assert str(column) in axes.get_title("left")
        bins = len(of(profiled, str(column), "histogram"))
        bins += len(of(profiled, str(column), "timeline"))
        assert len(axes.patches) == (bins or len(rows))


def test_draw_column_without_values_draws(spark: SparkSession) -> None:
    given = spark.sql(
        "SELECT stack(2, CAST('NaN' AS DOUBLE), NULL) AS x, CAST(NULL AS STRING) AS c"
    )
    for column, rows in profile(given, ProfileParams()).toPandas().groupby("column_name"):
        axes = draw_column(rows, f"a.{column}").axes[0]
        assert axes.get_title("left") == f"a.{column}: 2 values, 2 of them missing"
        assert len(axes.patches) == len(rows)


@pytest.mark.local_only
def test_profile_starts_no_execution_and_reads_the_table_once(spark: SparkSession) -> None:
    given = frame(spark)
    assert executions(spark, lambda: profile(given, ProfileParams())) == 0
    assert executions(spark, lambda: drift(given, given)) == 0
    plan = count_cells(given)._jdf.queryExecution().optimizedPlan().toString()
    assert plan.count("LocalRelation") + plan.count("LogicalRDD") == 1
