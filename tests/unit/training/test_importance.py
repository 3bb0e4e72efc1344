"""Permutation importance against scikit-learn with the same shuffles, in every kind of model."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.inspection import permutation_importance as by_sklearn
from tests.support.fitted_features import number_statistics

from matchlake.errors import InputError, ParameterError, SchemaError
from matchlake.features.fitted import Declared
from matchlake.features.fitted_number import FittedNumber
from matchlake.features.model import FeatureModel
from matchlake.features.names import Names
from matchlake.features.scalers import Number
from matchlake.learners.params import SklearnParams
from matchlake.learners.protocol import TrainingData
from matchlake.learners.registry import fit_head
from matchlake.learners.sklearn import make_estimator
from matchlake.model_store.scoring_model import ScoringModel
from matchlake.training.importance import column_blocks, importances, permutation_importance
from matchlake.training.model_params import ImportanceParams

COLUMNS = ("a", "b", "c", "noise")
ROWS, REPEATS, SEED = 1500, 4, 7


def features(columns: tuple[str, ...] = COLUMNS) -> FeatureModel:
    """The columns as they are."""
    found = number_statistics(np.arange(10.0), Number())
    made = tuple(
        FittedNumber.learn(Declared(name, name, "double", Number()), found, None, Names())
        for name in columns
    )
    return FeatureModel(name="t", rows=1, keys=("id",), features=made)


def table(task: str, seed: int = 1) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    frame = pd.DataFrame(random.normal(size=(ROWS, 4)), columns=list(COLUMNS))
    signal = 2 * frame["a"] + frame["b"] + 0.5 * frame["c"] + random.normal(size=ROWS) * 0.3
    label: Any = signal if task == "regression" else np.where(signal > 0.5, "yes", "no")
    return frame.assign(id=range(ROWS), label=label)


def fitted(frame: pd.DataFrame, task: Any, estimator: str, **params: Any) -> tuple[Any, Any]:
    """The scoring model, and the estimator itself."""
    matrix, label = frame[list(COLUMNS)].to_numpy(), frame["label"].to_numpy()
    chosen = SklearnParams(estimator=estimator, params=params)
    head = fit_head(TrainingData(matrix, COLUMNS, label), chosen, task, SEED)
    theirs = make_estimator(chosen, task, SEED).fit(matrix, label)
    return ScoringModel(name="m", task=task, features=features(), head=head), theirs


def shuffles_of_sklearn() -> list[np.ndarray]:
    """Each repeat of scikit-learn shuffles the positions of the one before, and the column too."""
    random = np.random.RandomState(SEED)
    random = np.random.RandomState(random.randint(np.iinfo(np.int32).max + 1))
    positions, places = np.arange(ROWS), np.arange(ROWS)
    found = []
    for _ in range(REPEATS):
        random.shuffle(positions)
        places = places[positions]
        found.append(places.copy())
    return found


@pytest.mark.parametrize(
    ("task", "estimator", "params", "metric", "scoring"),
    [
        ("regression", "Ridge", {}, "mae", "neg_mean_absolute_error"),
        ("regression", "HistGradientBoostingRegressor", {"max_iter": 9}, "r2", "r2"),
        ("classification", "LogisticRegression", {"C": 1e-3}, "log_loss", "neg_log_loss"),
        ("classification", "RandomForestClassifier", {"n_estimators": 5}, "roc_auc", "roc_auc"),
        ("classification", "HistGradientBoostingClassifier", {"max_iter": 9}, "accuracy",
         "accuracy"),
    ],
)  # fmt: skip
def test_the_same_shuffles_give_the_values_of_scikit_learn(
    task: Any, estimator: str, params: dict[str, Any], metric: str, scoring: str
) -> None:
    frame = table(task)
    model, theirs = fitted(frame, task, estimator, **params)
    expected = by_sklearn(
        theirs, frame[list(COLUMNS)].to_numpy(), frame["label"].to_numpy(), scoring=scoring,
        n_repeats=REPEATS, random_state=SEED,
    )  # fmt: skip
    blocks = column_blocks(model.features, {})
    found = importances(
        model, frame, frame["label"].to_numpy(), (metric, blocks, shuffles_of_sklearn())
    )
    values = np.array([found[name].values for name in COLUMNS])
    np.testing.assert_allclose(values, expected.importances, rtol=0, atol=1e-12)


@pytest.mark.parametrize("seed", range(20))
def test_planted_signals_rank_above_noise(seed: int) -> None:
    frame = table("regression", seed)
    model, _ = fitted(frame, "regression", "Ridge")
    found = permutation_importance(model, frame, "label", seed=seed)
    assert list(found["name"]) == ["a", "b", "c", "noise"]
    assert abs(found["mean"].iloc[-1]) < 0.01


def test_columns_of_a_group_are_shuffled_together() -> None:
    frame = table("regression")
    copied = frame.assign(b=frame["a"])
    model, _ = fitted(copied, "regression", "Ridge")
    alone = permutation_importance(model, copied, "label").set_index("name")
    both = permutation_importance(
        model, copied, "label", ImportanceParams(groups={"a and its copy": ("a", "b")})
    )
    assert set(both["name"]) == {"a and its copy", "c", "noise"}
    assert both.set_index("name").loc["a and its copy", "mean"] > 1.5 * alone.loc["a", "mean"]
    single = permutation_importance(model, copied, "label", by="features").set_index("name")
    assert single.loc["a", "values"] == alone.loc["a", "values"]


@pytest.mark.parametrize(
    ("label", "params", "by", "message"),
    [
        (
            "label",
            {"metric": "roc_auc"},
            "columns",
            "metric 'roc_auc' is not a metric of regression",
        ),
        ("truth", {}, "columns", "truth"),
        ("label", {"groups": {"g": ["d"]}}, "columns", "the columns that the model reads: d"),
        ("label", {"groups": {"g": ["a"], "h": ["a"]}}, "columns", "a is in two groups"),
        ("label", {"groups": {"g": ["a"]}}, "features", "groups are possible only"),
    ],
)
def test_what_cannot_be_measured_is_refused(
    label: str, params: dict[str, Any], by: Any, message: str
) -> None:
    frame = table("regression")
    model, _ = fitted(frame, "regression", "Ridge")
    with pytest.raises((ParameterError, SchemaError), match=message):
        permutation_importance(model, frame, label, ImportanceParams.model_validate(params), by)


def test_rows_without_a_value_of_the_metric_are_refused() -> None:
    frame = table("classification")
    model, _ = fitted(frame, "classification", "LogisticRegression")
    with pytest.raises(InputError, match="no rows"):
        permutation_importance(model, frame[:0], "label")
    one_class = frame[frame["label"] == "yes"]
    with pytest.raises(InputError, match="roc_auc has no value"):
        permutation_importance(model, one_class, "label", ImportanceParams(metric="roc_auc"))
