"""Estimators of pyspark.ml become heads with the predictions of Spark's own models."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pyspark.ml.feature import VectorAssembler
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from matchlake.errors import InputError, ParameterError
from matchlake.formulas.heads import Head
from matchlake.io.spark_models import saved_trees
from matchlake.learners.frame_checks import checked_classes
from matchlake.learners.params import SparkParams
from matchlake.learners.protocol import TrainingFrame
from matchlake.learners.registry import fit_on_cluster
from matchlake.learners.spark import CODE, ESTIMATORS, VECTOR, make_estimator

COLUMNS = ("a", "b", "c")
FEW: dict[str, dict[str, Any]] = {
    **{
        f"RandomForest{kind}": {"numTrees": 3, "maxDepth": 4}
        for kind in ("Regressor", "Classifier")
    },
    **{f"GBT{kind}": {"maxIter": 3, "maxDepth": 3} for kind in ("Regressor", "Classifier")},
    "LogisticRegression": {"maxIter": 5},
}
QUICK = ("LogisticRegression", "RandomForestClassifier")


def estimators() -> list[Any]:
    slow = [pytest.mark.soak]
    return [pytest.param(each, marks=[] if each in QUICK else slow) for each in ESTIMATORS]


@pytest.fixture(scope="module")
def frame(spark: SparkSession) -> DataFrame:
    random = np.random.default_rng(0)
    matrix = random.normal(size=(300, 3)) * [1.0, 100.0, 1e-3]
    matrix[:, 0] = np.round(matrix[:, 0], 1)
    signal = matrix[:, 0] + np.sin(matrix[:, 1] / 50) + matrix[:, 2] * 300
    classes = np.array(["lo", "mid", "up"])[np.digitize(signal, [-0.5, 0.7])]
    rows = [
        (*map(float, row), float(y), str(each), "lo" if each == "lo" else "up")
        for row, y, each in zip(matrix, signal, classes, strict=True)
    ]
    schema = "a double, b double, c double, y double, three string, two string"
    return spark.createDataFrame(rows, schema).coalesce(1).cache()


def training(frame: DataFrame, label: str, folder: Path) -> TrainingFrame:
    trees = partial(saved_trees, frame.sparkSession, folder=str(folder))
    return TrainingFrame(frame, COLUMNS, label, trees)


def label_of(name: str) -> str:
    if ESTIMATORS[name].task == "regression":
        return "y"
    return "two" if name == "GBTClassifier" else "three"


@pytest.mark.parametrize("name", estimators())
def test_head_equals_the_model_of_spark(frame: DataFrame, tmp_path: Path, name: str) -> None:
    task, label = ESTIMATORS[name].task, label_of(name)
    rows = training(frame, label, tmp_path)
    params = SparkParams(estimator=name, params=FEW.get(name, {}))
    labels = checked_classes(rows, task)
    head: Head = fit_on_cluster(rows, params, task, 1, labels)
    assert not list((tmp_path / "spark_models").glob("*")) if "Linear" not in name else True
    codes = (
        F.col(label)
        if labels is None
        else F.array_position(F.array(*map(F.lit, labels)), F.col(label)) - 1
    )
    vectors = VectorAssembler(inputCols=list(COLUMNS), outputCol=VECTOR).transform(
        frame.withColumn(CODE, codes.cast("double"))
    )
    model = make_estimator(params, task, 1).fit(vectors.select(VECTOR, CODE))
    scored = model.transform(vectors).toPandas()
    found = head.numpy(scored[list(COLUMNS)].to_numpy())
    if labels is None:
        np.testing.assert_allclose(
            found["prediction"], scored["prediction"], rtol=1e-12, atol=1e-12
        )
        return
    chances = np.stack([each.toArray() for each in scored["probability"]])
    np.testing.assert_allclose(found["probabilities"], chances, rtol=0, atol=1e-12)
    first, second = np.sort(chances, axis=1)[:, -1], np.sort(chances, axis=1)[:, -2]
    sure = first - second > 1e-12
    expected = np.array(labels)[scored["prediction"].astype(int)]
    np.testing.assert_array_equal(found["prediction"][sure], expected[sure])


@pytest.mark.parametrize(
    ("estimator", "params", "message"),
    [
        ("LinearRegresion", {}, "Did you mean LinearRegression"),
        (
            "LogisticRegression",
            {},
            "pyspark.ml has no estimator 'LogisticRegression' for",
        ),
        ("GBTRegressor", {"maxDepht": 3}, "no parameter 'maxDepht'. Did you mean maxDepth"),
        ("GBTRegressor", {"maxDepth": "deep"}, "GBTRegressor: maxDepth: "),
        ("LinearRegression", {"featuresCol": "x"}, "no parameter 'featuresCol'"),
    ],
)
def test_unknown_estimators_and_parameters_are_refused(
    spark: SparkSession, estimator: str, params: dict[str, Any], message: str
) -> None:
    del spark  # parameters of pyspark.ml need a session
    with pytest.raises(ParameterError, match=message):
        make_estimator(SparkParams(estimator=estimator, params=params), "regression", 1)


@pytest.mark.soak
@pytest.mark.parametrize(
    ("change", "label", "message"),
    [
        ({"b": "IF(a > 0, NULL, b)"}, "y", "not accept missing or infinite values.*some: b"),
        ({"c": "DOUBLE('Infinity')"}, "y", "some: c"),
        ({"y": "1D"}, "y", "All training rows have the label 1.0"),
        ({"y": "IF(a > 0, NULL, y)"}, "y", "training rows have no label"),
        ({"three": "CAST(b AS STRING)"}, "three", "more than 100 classes"),
        ({"y": "if(a > 0, double('Infinity'), y)"}, "y", "have an infinite label"),
    ],
)
def test_rows_that_cannot_be_learned_from_are_refused(
    frame: DataFrame, tmp_path: Path, change: dict[str, str], label: str, message: str
) -> None:
    changed = frame.withColumns({name: F.expr(text) for name, text in change.items()})
    task: Any = "regression" if label == "y" else "classification"
    with pytest.raises(InputError, match=message):
        checked_classes(training(changed, label, tmp_path), task)
