"""A booster of XGBoost becomes a head with the booster's own predictions, in 64 bits.

`make soak` runs this in the environment that has XGBoost.
"""

from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest

from matchlake.errors import ParameterError
from matchlake.formulas.heads import TreesHead
from matchlake.learners.params import XgboostParams
from matchlake.learners.protocol import TrainingData
from matchlake.learners.registry import fit_head

pytestmark = [pytest.mark.soak, pytest.mark.frameworks]
OBJECTIVES = {
    "reg:squarederror": 0, "reg:absoluteerror": 0, "count:poisson": 0, "reg:gamma": 0,
    "reg:tweedie": 0, "binary:logistic": 2, "multi:softprob": 3,
} if find_spec("xgboost") else {}  # fmt: skip
COLUMNS = ("a", "b", "c", "d")


def rows(seed: int, *, missing: bool) -> np.ndarray:
    """Half of the numbers are thresholds of trees once rounded to 32 bits."""
    random = np.random.default_rng(seed)
    made = random.normal(size=(500, 4)) * [1.0, 1e-3, 1e3, 1.0]
    made[:, 3] = np.round(made[:, 3], 1)
    if missing:
        made[random.random(made.shape) < 0.1] = np.nan
    return made


def label(matrix: np.ndarray, classes: int) -> np.ndarray:
    known = np.nan_to_num(matrix)
    signal = known[:, 0] + known[:, 3] ** 2 + known[:, 2] / 1e3
    if not classes:
        return np.asarray(np.exp(signal / 4))
    cuts = np.quantile(signal, np.linspace(0, 1, classes + 1)[1:-1])
    return np.array(["x", "y", "z"])[np.digitize(signal, cuts)]


def booster(data: TrainingData, params: XgboostParams, classes: int) -> Any:
    import xgboost  # noqa: PLC0415

    target = np.asarray(data.label)
    if classes:
        target = np.unique(target, return_inverse=True)[1]
    more = {"num_class": classes} if classes > 2 else {}
    given = params.params | more | {"seed": 1, "verbosity": 0}
    return xgboost.train(given, xgboost.DMatrix(data.matrix, target), params.rounds)


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("more", [{}, {"booster": "dart", "rate_drop": 0.5}], ids=["trees", "dart"])
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_head_equals_the_booster(objective: str, more: dict[str, Any], *, missing: bool) -> None:
    import xgboost  # noqa: PLC0415

    classes = OBJECTIVES[objective]
    data = TrainingData(rows(0, missing=missing), COLUMNS, None)
    data = TrainingData(data.matrix, COLUMNS, label(data.matrix, classes))
    params = XgboostParams(rounds=12, params={"objective": objective, "nthread": 1, **more})
    task: Any = "classification" if classes else "regression"
    head = fit_head(data, params, task, 1)
    assert isinstance(head, TreesHead)
    unseen = np.vstack([data.matrix, rows(1, missing=True)])
    expected = booster(data, params, classes).predict(xgboost.DMatrix(unseen))
    found = head.numpy(unseen)
    if not classes:
        np.testing.assert_allclose(found["prediction"], expected, rtol=2e-6, atol=1e-6)
        return
    chances = np.column_stack([1 - expected, expected]) if classes == 2 else expected
    np.testing.assert_allclose(found["probabilities"], chances, atol=1e-6)
    first, second = np.sort(chances, axis=1)[:, -1], np.sort(chances, axis=1)[:, -2]
    sure = first - second > 1e-6
    expected_labels = np.array(head.labels)[chances.argmax(axis=1)]
    np.testing.assert_array_equal(found["prediction"][sure], expected_labels[sure])


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"learning_rat": 0.1}, "no parameter 'learning_rat' here. Did you mean learning_rate"),
        ({"booster": "gblinear"}, "booster is 'gblinear'; it must be one of gbtree, dart"),
        ({"objective": "binary:logistic"}, "objective is 'binary:logistic'; for regression"),
    ] if OBJECTIVES else (),
)  # fmt: skip
def test_parameters_without_a_head_are_refused(params: dict[str, Any], message: str) -> None:
    matrix = rows(0, missing=False)
    with pytest.raises(ParameterError, match=message):
        fit_head(
            TrainingData(matrix, COLUMNS, label(matrix, 0)),
            XgboostParams(params=params),
            "regression",
            1,
        )


def test_rounds_are_reported_or_the_package_is_named() -> None:
    matrix = rows(0, missing=False)
    data = TrainingData(matrix, COLUMNS, label(matrix, 0))
    told: list[tuple[str, float]] = []
    if OBJECTIVES:
        head = fit_head(
            data, XgboostParams(rounds=2), "regression", 1, lambda *each: told.append(each)
        )
        assert told == [("round", 1), ("round", 2)]
        assert fit_head(data, XgboostParams(rounds=2), "regression", 1) == head
    else:
        with pytest.raises(ParameterError, match="pip install xgboost-cpu"):
            fit_head(data, XgboostParams(), "regression", 1)
