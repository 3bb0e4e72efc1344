"""Rows of bench_experiments on the selection of features: exactness, and time on Spark."""

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from pyspark.ml.feature import UnivariateFeatureSelector, VectorAssembler
from pyspark.ml.stat import ChiSquareTest
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from tests.benchmarks.marks import Claim
from tests.benchmarks.memory import PeakMemory
from tests.benchmarks.rounds import in_turn, ratio
from tests.benchmarks.runs import session
from tests.support.shaped_sets import METHODS, expected_scores, shaped_sets

from matchlake import SelectParams, select_features

COLUMNS = tuple(f"x{i}" for i in range(12))
_LEAST = 1e-13
"""A score below this is a rounding of zero."""


def filter_scores(options: argparse.Namespace) -> dict[str, Any]:
    """The largest relative difference of a score and of a p-value on twelve shaped sets."""
    del options
    largest, where = 0.0, ""
    for name, given in shaped_sets().items():
        expected = expected_scores(given)
        for method, (feature, label) in METHODS.items():
            score, p_value = expected[method]
            if score is None:
                continue
            params = SelectParams.model_validate({"method": method})
            (found,) = select_features(given.rows, label, params, columns=[feature]).scores
            for ours, theirs in ((found.score, score), (found.p_value, p_value)):
                apart = 0.0 if ours is None or theirs is None else _difference(ours, theirs)
                if apart > largest:
                    largest, where = apart, f"{name}, {method}"
    return {"largest": largest, "where": where}


def _difference(ours: float, theirs: float) -> float:
    if ours == theirs or max(abs(ours), abs(theirs)) < _LEAST:
        return 0.0
    return abs(ours - theirs) / max(abs(theirs), _LEAST)


def filter_speed(options: argparse.Namespace) -> dict[str, Any]:
    """ANOVA and chi-square of twelve columns with 20 values each: seconds, ours and Spark ML's.

    Both read the same Parquet files. The columns are numbers, because Spark ML takes no others; for
    chi-square each number is a category.
    """
    with tempfile.TemporaryDirectory() as name, PeakMemory() as memory:
        folder = Path(name)
        spark = session(options, folder)
        rows = spark.range(options.rows)
        label = (F.xxhash64("id", F.lit(99)) % 3 + 2).cast("int")
        values = [
            ((F.xxhash64("id", F.lit(i)) % 20 + 19).cast("double") + F.col("label") * (i % 3))
            for i in range(len(COLUMNS))
        ]
        named = [value.alias(each) for each, value in zip(COLUMNS, values, strict=True)]
        rows.withColumn("label", label).select("label", *named).write.parquet(f"{folder}/rows")
        frame = spark.read.parquet(f"{folder}/rows")
        ours: dict[str, Any] = {}
        theirs: dict[str, Any] = {}
        sides = {
            "ours": lambda _: ours.update(_ours(frame)),
            "spark_ml": lambda _: theirs.update(_spark_ml(frame)),
        }
        found = in_turn(sides, folder, options.rounds, memory)
        same = np.allclose(ours["chi_square"], theirs["chi_square"], rtol=1e-9)
        spark.stop()
    return {
        "rows": options.rows,
        "sides": found,
        "ratio": ratio(found, "ours", "spark_ml"),
        "same_chi_square": bool(same),
        "same_choice": ours["kept"] == theirs["kept"],
    }


def _ours(frame: DataFrame) -> dict[str, Any]:
    anova = select_features(frame, "label", SelectParams(method="anova", top=6))
    params = SelectParams(method="chi_square", bins=None)
    by_name = {e.feature: e.score for e in select_features(frame, "label", params).scores}
    return {"kept": set(anova.kept), "chi_square": [by_name[name] for name in COLUMNS]}


def _spark_ml(frame: DataFrame) -> dict[str, Any]:
    vectors = VectorAssembler(inputCols=list(COLUMNS), outputCol="features").transform(frame)
    selector = UnivariateFeatureSelector(
        featuresCol="features", labelCol="label", selectionMode="numTopFeatures"
    )
    selector = selector.setFeatureType("continuous").setLabelType("categorical")
    kept = selector.setSelectionThreshold(6).fit(vectors).selectedFeatures
    tested = ChiSquareTest.test(vectors, "features", "label").head()
    assert tested is not None
    return {
        "kept": {COLUMNS[i] for i in kept},
        "chi_square": list(tested["statistics"]),
    }


ROWS = {"filter_scores": filter_scores, "filter_speed": filter_speed}
CLAIMS = {
    "filter_scores": (
        Claim(
            "filter scores and p-values on 12 shaped sets: largest relative difference",
            "SciPy, scikit-learn",
            1e-9,
            "lower",
            ("filter_scores", "largest"),
        ),
    ),
    "filter_speed": (
        Claim(
            "ANOVA and chi-square of 12 columns: seconds, ours / theirs",
            "Spark ML",
            0.10,
            "lower",
            ("filter_speed", "ratio"),
        ),
    ),
}
