"""Leaks, memory, constants and importance of a model of conf, without Spark."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from tests.support.fitted_features import fitted_number, model_of

from matchlake.errors import InputError
from matchlake.features.scalers import Number
from matchlake.formulas.heads import LinearHead
from matchlake.io.model_versions import Decision
from matchlake.model_store.scoring_model import ScoringModel
from matchlake.training.model_card import model_card
from matchlake.training.model_data import LABEL, ModelRows, require_memory
from matchlake.training.model_params import ModelParams
from matchlake.training.model_training import (
    Trained,
    constant_of,
    has_prediction,
    leaks,
    score,
)
from matchlake.training.task_metrics import metric

RANDOM = np.random.default_rng(4)
DECLARED: dict[str, Any] = {
    "rows": "silver.a",
    "label": "y",
    "task": "regression",
    "keys": ["k"],
    "features": {"f": {"kind": "number", "column": "x"}},
    "table": "gold.a",
    "comment": "A.",
    "trainer": {"kind": "sklearn", "estimator": "Ridge"},
}
PARAMS = ModelParams.model_validate(DECLARED)


def linear() -> ScoringModel:
    """`3 x + 1`, with a missing prediction for a missing x."""
    features = model_of(fitted_number(Number(handle_null="keep")))
    head = LinearHead(columns=("f",), weights=((3.0,),), intercepts=(1.0,))
    return ScoringModel(name="m", task="regression", features=features, head=head)


def test_leaks_are_columns_that_decide_the_label_alone() -> None:
    label = RANDOM.normal(size=50)
    noise = RANDOM.normal(size=50)
    holes = np.where(np.arange(50) % 7 == 0, np.nan, -2 * label + 3)
    matrix = np.column_stack([noise, label * 5, label + 0.01 * noise, holes, np.ones(50)])
    assert leaks(matrix, ("noise", "scaled", "close", "holes", "one"), label) == ("scaled", "holes")
    classes = np.where(noise > 0, "yes", "no").astype(object)
    columns = np.column_stack([(noise > 0).astype(float), noise])
    assert leaks(columns, ("same", "near"), classes) == ("same",)


def test_memory_is_counted_before_rows_are_collected() -> None:
    model = linear().features
    require_memory("a", PARAMS, model, 1_000_000)
    with pytest.raises(
        InputError,
        match=r"200,000,000 rows with 1 feature columns need about 6,104 MB.*allows 4,096",
    ):
        require_memory("a", PARAMS, model, 200_000_000)


def test_scores_of_test_rows_and_the_constant_beside_them() -> None:
    rows = pd.DataFrame({"x": [1.0, np.nan, 2.0], LABEL: [4.0, 5.0, 8.0]})
    scored = score(linear(), rows)
    assert has_prediction(scored).tolist() == [True, False, True]
    assert scored.take(np.array([0, 2])).prediction.tolist() == [4.0, 7.0]
    constant = constant_of(Trained(linear(), 3, np.array([5.5]), ()), scored)
    assert constant is not None
    assert metric(constant, "mae") == pytest.approx((1.5 + 0.5 + 2.5) / 3)


def test_the_card_says_what_was_fitted_and_why_it_has_its_alias() -> None:
    rows = ModelRows(7, None, None, 240, 12)  # type: ignore[arg-type]
    trained = Trained(linear(), 80, np.array([5.5]), ("f",))
    figures = {"model": {"rmse": 0.5}, "champion": {"rmse": 0.75, "mae": 0.5}}
    card = model_card(PARAMS, trained, rows, figures, Decision("champion", "better | surely"))
    for line in (
        "| rows | `silver.a`, Delta version 7 |",
        "| rows left out | 12 |",
        "| alias | champion: better \\| surely |",
        "| rmse | 0.500000 | 0.750000 |",
        "| mae |  | 0.500000 |",
        "| f | x | number | 1 |",
        "**Possible leak**: each of these alone determines the label: f.",
    ):
        assert line in card.splitlines()
