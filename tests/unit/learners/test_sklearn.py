"""Each estimator becomes a head with the estimator's own predictions."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from matchlake.errors import InputError, ParameterError
from matchlake.formulas.heads import Head
from matchlake.formulas.sql import SPARK
from matchlake.learners.forest import without_rounding
from matchlake.learners.params import SklearnParams
from matchlake.learners.protocol import TrainingData
from matchlake.learners.registry import fit_head
from matchlake.learners.sklearn import ESTIMATORS, make_estimator

ROWS = 400
FEW: dict[str, dict[str, Any]] = {
    **{f"{name}{kind}": {"n_estimators": 7} for name in ("RandomForest", "ExtraTrees")
       for kind in ("Classifier", "Regressor")},
    **{f"GradientBoosting{kind}": {"n_estimators": 7} for kind in ("Classifier", "Regressor")},
    **{f"HistGradientBoosting{kind}": {"max_iter": 7} for kind in ("Classifier", "Regressor")},
    "KMeans": {"n_clusters": 5}, "MiniBatchKMeans": {"n_clusters": 5},
    "LogisticRegression": {"max_iter": 2000},
    "Lasso": {"alpha": 0.01}, "ElasticNet": {"alpha": 0.01},
}  # fmt: skip
MORE = [
    ("HistGradientBoostingRegressor", {"loss": "poisson", "max_iter": 5}),
    ("HistGradientBoostingRegressor", {"loss": "absolute_error", "max_iter": 5}),
    ("GradientBoostingRegressor", {"loss": "huber", "n_estimators": 5, "subsample": 0.7}),
    ("GradientBoostingRegressor", {"init": "zero", "n_estimators": 5}),
    ("GradientBoostingClassifier", {"loss": "exponential", "n_estimators": 5}),
    ("RandomForestClassifier", {"max_depth": 1, "n_estimators": 3}),
    ("DecisionTreeRegressor", {"max_depth": 1}),
    ("Ridge", {"fit_intercept": False}),
    ("LogisticRegression", {"fit_intercept": False, "C": 0.1, "max_iter": 2000}),
    ("LinearRegression", {"positive": True}),
]


def matrix(seed: int, *, missing: bool) -> np.ndarray:
    """Numbers of several scales; half of them are thresholds of trees once rounded to float32."""
    random = np.random.default_rng(seed)
    made = random.normal(size=(ROWS, 5)) * [1.0, 1e-3, 100.0, 1.0, 1.0]
    made[:, 3] = np.round(made[:, 3], 1)
    made[:, 4] = random.integers(0, 3, ROWS)
    if missing:
        made[random.random(made.shape) < 0.1] = np.nan
    return made


def labels(values: np.ndarray, task: str, classes: int) -> np.ndarray | None:
    known = np.nan_to_num(values)
    signal = known[:, 0] + np.sin(known[:, 1] * 1e3) + known[:, 4] + known[:, 2] / 100
    if task == "clustering":
        return None
    if task == "regression":
        return np.exp(signal / 3)
    cuts = np.quantile(signal, np.linspace(0, 1, classes + 1)[1:-1])
    return np.array(["red", "green", "blue"])[np.digitize(signal, cuts)]


def fitted(name: str, params: dict[str, Any], classes: int) -> tuple[Head, Any, np.ndarray]:
    """The head, the estimator itself, and rows that neither has seen."""
    estimator = ESTIMATORS[name]
    rows = matrix(1, missing=estimator.missing)
    label = labels(rows, estimator.task, classes)
    chosen = SklearnParams(estimator=name, params=params)
    data = TrainingData(rows, ("a", "b", "c", "d", "e"), label)
    head = fit_head(data, chosen, estimator.task, 3)
    model = make_estimator(chosen, estimator.task, 3)
    model.fit(rows) if label is None else model.fit(rows, label)
    return head, model, np.vstack([rows, matrix(2, missing=estimator.missing)])


def assert_equal(name: str, head: Head, model: Any, rows: np.ndarray) -> None:
    found = head.numpy(rows)
    if ESTIMATORS[name].task == "regression":
        np.testing.assert_allclose(found["prediction"], model.predict(rows), rtol=1e-12, atol=1e-12)
        return
    np.testing.assert_array_equal(found["prediction"], model.predict(rows))
    if ESTIMATORS[name].task == "classification":
        assert head.labels == tuple(model.classes_)
        expected = model.predict_proba(rows)
        np.testing.assert_allclose(found["probabilities"], expected, rtol=0, atol=1e-12)
    else:
        np.testing.assert_allclose(found["distances"], model.transform(rows), rtol=1e-9)


CASES = [(name, 2) for name in ESTIMATORS]
CASES += [(name, 3) for name, each in ESTIMATORS.items() if each.task == "classification"]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Many threads would wait for each other on these few rows."""
    with threadpool_limits(1):
        yield


@pytest.mark.parametrize(("name", "classes"), CASES)
def test_head_equals_the_estimator(name: str, classes: int) -> None:
    assert_equal(name, *fitted(name, FEW.get(name, {}), classes))


@pytest.mark.parametrize(("name", "params"), MORE, ids=str)
def test_head_of_other_parameters_equals_the_estimator(name: str, params: dict[str, Any]) -> None:
    assert_equal(name, *fitted(name, params, 2))


def test_thresholds_decide_as_for_values_rounded_to_float32() -> None:
    random = np.random.default_rng(0)
    thresholds = np.concatenate(
        [random.normal(size=500), random.normal(size=500).astype(np.float32), [0.0, -1e-50, 1e-46]]
    )
    doubles = without_rounding(thresholds)
    near = [np.nextafter(doubles, side) for side in (-np.inf, np.inf)]
    single = thresholds.astype(np.float32).astype(np.float64)
    for values in (doubles, *near, thresholds, single, thresholds * (1 + 1e-8)):
        rounded = values.astype(np.float32).astype(np.float64)
        np.testing.assert_array_equal(values <= doubles, rounded <= thresholds)


def data(label: Any, rows: Any = None) -> TrainingData:
    made = np.arange(8.0).reshape(4, 2) if rows is None else np.array(rows, dtype=float)
    return TrainingData(made, ("a", "b"), None if label is None else np.array(label))


RIDGE = SklearnParams(estimator="Ridge")
FOREST = SklearnParams(estimator="RandomForestClassifier")


@pytest.mark.parametrize(
    ("given", "params", "task", "message"),
    [
        (data([], np.empty((0, 2))), RIDGE, "regression", "no training rows"),
        (data([1.0, np.nan, 2.0, 3.0]), RIDGE, "regression", "1 of 4 training rows have no label"),
        (data([1.0, np.inf, 2.0, 3.0]), RIDGE, "regression", "infinite label"),
        (data([5.0] * 4), RIDGE, "regression", "label 5.0, so there is nothing to learn"),
        (data(["x"] * 4), RIDGE, "regression", "needs a label of numbers"),
        (data(["x"] * 4), FOREST, "classification", "All training rows have the label 'x'"),
        (data([0.5, 1.0, 2.0, 3.0]), FOREST, "classification", "label has fractions"),
        (data(["x", "\0y", "x", "x"]), FOREST, "classification", "the control character 0"),
        (data(None), RIDGE, "regression", "needs a label"),
        (data([1, 2, 3, 4], [[1, np.nan]] * 4), RIDGE, "regression", "some: b. Give them another"),
        (data([1, 2, 3, 4], [[np.inf, 1]] * 4), RIDGE, "regression", "infinite values.*some: a"),
        (data([0, 1, 0, 1], [[1, 1e39]] * 4), FOREST, "classification", "above 3.4e.38.*some: b"),
    ],
)  # fmt: skip
def test_rows_that_cannot_be_learned_from_are_refused(
    given: TrainingData, params: SklearnParams, task: Any, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        fit_head(given, params, task, 0)


@pytest.mark.parametrize(
    ("name", "params", "task", "message"),
    [
        ("RandomForrestRegressor", {}, "regression", "Did you mean RandomForestRegressor"),
        ("SVC", {}, "classification", "There is no estimator 'SVC'.*LogisticRegression"),
        ("KMeans", {}, "regression", "KMeans is for clustering, but the task is regression"),
        ("Ridge", {"alfa": 1}, "regression", "no parameter 'alfa'. Did you mean alpha"),
        ("Ridge", {"alpha": "big"}, "regression", "Ridge: The 'alpha' parameter"),
        ("HistGradientBoostingRegressor", {"categorical_features": [0]}, "regression", "no param"),
    ],
)
def test_estimators_and_parameters_that_are_not_there_are_refused(
    name: str, params: dict[str, Any], task: Any, message: str
) -> None:
    with pytest.raises(ParameterError, match=message):
        fit_head(data([1, 2, 3, 4]), SklearnParams(estimator=name, params=params), task, 0)


def test_labels_are_texts_as_spark_writes_them() -> None:
    made = data([True, False, True, False])
    head = fit_head(made, FOREST, "classification", 0)
    assert head.labels == ("false", "true")
    assert head.sql_stages(SPARK)[-1].keys() == {"prediction", "probabilities"}


def test_the_same_seed_gives_the_same_head() -> None:
    given = data(["x", "y", "x", "y"])
    heads = [fit_head(given, FOREST, "classification", seed) for seed in (1, 1)]
    assert heads[0] == heads[1]
