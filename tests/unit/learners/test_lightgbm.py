"""A booster of LightGBM becomes a head with the booster's own predictions."""

from typing import Any

import lightgbm
import numpy as np
import pytest

from matchlake.errors import ParameterError
from matchlake.formulas.heads import TreesHead
from matchlake.learners.lightgbm import booster_head
from matchlake.learners.params import LightgbmParams
from matchlake.learners.protocol import TrainingData
from matchlake.learners.registry import fit_head

COLUMNS = ("a b", "{c}", "d", "e")
QUIET = {"verbose": -1, "num_threads": 1, "min_data_in_leaf": 5}


def rows(seed: int, *, missing: bool) -> np.ndarray:
    random = np.random.default_rng(seed)
    made = random.normal(size=(300, 4))
    made[:, 2] = np.round(made[:, 2])
    made[:, 3] = random.integers(0, 2, 300)
    if missing:
        made[random.random(made.shape) < 0.1] = np.nan
    return made


def label(matrix: np.ndarray) -> np.ndarray:
    known = np.nan_to_num(matrix)
    return np.asarray(known[:, 0] + known[:, 1] ** 2 + known[:, 3])


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("objective", ["regression", "poisson", "binary", "multiclass"])
def test_head_equals_the_booster(objective: str, *, missing: bool) -> None:
    matrix = rows(0, missing=missing)
    classes = {"binary": 2, "multiclass": 3}.get(objective, 0)
    signal = label(matrix)
    cuts = np.quantile(signal, np.linspace(0, 1, classes + 1)[1:-1]) if classes else []
    target = np.digitize(signal, cuts) if classes else np.exp(signal / 4)
    params = QUIET | {"objective": objective}
    params |= {"num_class": 3} if objective == "multiclass" else {}
    booster = lightgbm.train(params, lightgbm.Dataset(matrix, target), 8)
    names = tuple("xyz")[:classes] or None
    head = booster_head(booster, COLUMNS, names)
    unseen = np.vstack([matrix, rows(1, missing=True)])
    expected = booster.predict(unseen)
    found = head.numpy(unseen)
    if not classes:
        np.testing.assert_allclose(found["prediction"], expected, rtol=1e-12)
    elif classes == 2:
        np.testing.assert_allclose(found["probabilities"][:, 1], expected, rtol=1e-12)
    else:
        np.testing.assert_allclose(found["probabilities"], expected, rtol=1e-12)
        assert found["prediction"].tolist() == ["xyz"[i] for i in expected.argmax(axis=1)]


def test_fit_reports_rounds_and_repeats() -> None:
    matrix = rows(0, missing=True)
    data = TrainingData(matrix, COLUMNS, np.where(label(matrix) > 1, "yes", "no"))
    told: list[tuple[str, float]] = []
    params = LightgbmParams(rounds=3, params={"num_threads": 1, "learning_rate": 0.3})
    head = fit_head(data, params, "classification", 1, lambda *each: told.append(each))
    assert isinstance(head, TreesHead)
    assert head.labels == ("no", "yes")
    assert told == [("round", 1), ("round", 2), ("round", 3)]
    assert fit_head(data, params, "classification", 1) == head


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"learning_rat": 0.1}, "no parameter 'learning_rat' here. Did you mean learning_rate"),
        ({"boosting": "rf"}, "boosting is 'rf'; it must be one of gbdt, dart, goss"),
        ({"objective": "binary"}, "objective is 'binary'; for regression"),
        ({"linear_tree": True}, "no parameter 'linear_tree'"),
    ],
)
def test_parameters_without_a_head_are_refused(params: dict[str, Any], message: str) -> None:
    matrix = rows(0, missing=False)
    data = TrainingData(matrix, COLUMNS, label(matrix))
    with pytest.raises(ParameterError, match=message):
        fit_head(data, LightgbmParams(params=params), "regression", 1)
