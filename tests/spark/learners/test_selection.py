"""Scores of features on Spark: against SciPy and scikit-learn, in one execution for all columns."""

from functools import partial

import numpy as np
import pandas as pd
import pytest
from pyspark.sql import DataFrame, SparkSession
from tests.support.executions import executions
from tests.support.shaped_sets import METHODS, expected_scores, shaped_sets

from matchlake import SelectParams, select_features
from matchlake.errors import InputError
from matchlake.learners.selection.select import FeatureScores

SETS = shaped_sets()
HARD = ("offset 1e12", "scale 1e-300", "nulls", "10,000 categories")
QUICK = ("anova", "pearson", "chi_square")


def framed(spark: SparkSession, rows: pd.DataFrame) -> DataFrame:
    text = rows.assign(c=rows["c"].where(rows["c"].notna(), None)) if "c" in rows else rows
    return spark.createDataFrame(text).repartition(3)


def compare(frame: DataFrame, name: str, methods: tuple[str, ...]) -> None:
    expected = expected_scores(SETS[name])
    for method in methods:
        feature, label = METHODS[method]
        params = SelectParams.model_validate({"method": method})
        score, p_value = expected[method]
        if score is None:
            with pytest.raises(InputError, match="keeps no feature"):
                select_features(frame, label, params, columns=[feature])
            continue
        (found,) = select_features(frame, label, params, columns=[feature]).scores
        assert found.score == pytest.approx(score, rel=1e-9, abs=1e-13), (name, method)
        if p_value is not None:
            assert found.p_value == pytest.approx(p_value, rel=1e-9), (name, method)


@pytest.mark.parametrize(
    "name", [pytest.param(h, marks=[pytest.mark.soak] * ("10,000" in h)) for h in HARD]
)
def test_hard_shapes_have_the_scores_of_scipy(spark: SparkSession, name: str) -> None:
    compare(framed(spark, SETS[name].rows), name, QUICK)


@pytest.mark.soak
@pytest.mark.parametrize("name", SETS)
def test_all_shapes_have_the_scores_of_scipy_and_scikit_learn(
    spark: SparkSession, name: str
) -> None:
    compare(framed(spark, SETS[name].rows), name, tuple(METHODS))


@pytest.mark.local_only
def test_all_columns_are_scored_in_one_execution_as_without_spark(spark: SparkSession) -> None:
    random = np.random.default_rng(3)
    y = random.integers(0, 3, 400)
    rows = pd.DataFrame({f"x{i}": y * i + random.normal(size=400) for i in range(6)})
    rows["copy"] = rows["x5"] * 2 + 1e-3 * random.normal(size=400)
    rows["city"] = np.array(["a", "b", "c", "d"])[random.integers(0, 4, 400)]
    rows["level"] = random.integers(0, 4, 400)
    rows = rows.assign(y=y.astype(str))
    frame = framed(spark, rows).localCheckpoint()
    for method, count in (("anova", 2), ("chi_square", 2), ("count", 1)):
        params = SelectParams.model_validate({"method": method, "top": 4})
        made: list[FeatureScores] = []
        run = partial(select_features, frame, "y", params, categories=["level"])
        assert executions(spark, lambda run=run, made=made: made.append(run())) == count, method
        (found,) = made
        alone = select_features(rows, "y", params, categories=["level"])
        for one, other in zip(found.scores, alone.scores, strict=True):
            assert (one.feature, one.kept, one.rank) == (other.feature, other.kept, other.rank)
            assert one.score == (other.score and pytest.approx(other.score, rel=1e-12))
    apart = SelectParams(max_correlation=0.99)
    found = select_features(frame, "y", apart)
    assert set(found.kept) == {*(f"x{i}" for i in range(5)), "level", "city"} | {
        select_features(rows, "y", apart).kept[0]
    }
    groups = select_features(frame, "x5", SelectParams(method="anova"), columns=["city", "y"])
    alone = select_features(rows, "x5", SelectParams(method="anova"), columns=["city", "y"])
    assert groups.scores[0].feature == "y"
    assert groups.scores[0].score == pytest.approx(alone.scores[0].score, rel=1e-12)
