"""Formulas of numeric encoders against NumPy's own arithmetic, and their inverses."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import special
from tests.support.fitted_features import (
    X,
    fitted_number,
    learn,
    model_of,
    number_statistics,
)

from matchlake.errors import InputError, ParameterError
from matchlake.features.bucketize import Bucketize
from matchlake.features.model import FeatureModel
from matchlake.features.nonlinear import LogNormal, Sigmoid, Tanh
from matchlake.features.numeric import NumericEncoder
from matchlake.features.scalers import MaxAbs, MinMax, Number, Robust, ZScore

MEAN, DEVIATION = X.mean(), X.std()
LOGS = np.log(X)


def scaled(feature: NumericEncoder, values: Any, fit_on: Any = X) -> Any:
    model = FeatureModel(name="t", rows=len(fit_on), features=(fitted_number(feature, fit_on),))
    return model.transform_numpy({"x": np.asarray(values, dtype=float)})[:, 0]


@pytest.mark.parametrize(
    ("feature", "formula"),
    [
        (Number(), lambda x: x),
        (MinMax(range=(-1, 3)), lambda x: (x - 0.5) / 39.5 * 4 - 1),
        (ZScore(), lambda x: (x - MEAN) / DEVIATION),
        (MaxAbs(), lambda x: x / 40),
        (Robust(), lambda x: (x - 2) / (7.5 - 1)),
        (Robust(lower=0, upper=1), lambda x: (x - 2) / 39.5),
        (Sigmoid(), special.expit),
        (Sigmoid(standardize=True), lambda x: special.expit((x - MEAN) / DEVIATION)),
        (Tanh(), np.tanh),
        (Tanh(standardize=True), lambda x: np.tanh((x - MEAN) / DEVIATION)),
        (LogNormal(), lambda x: (np.log(x) - LOGS.mean()) / LOGS.std()),
        (
            LogNormal(output="cdf"),
            lambda x: special.ndtr((np.log(x) - LOGS.mean()) / LOGS.std()),
        ),
        (Bucketize(edges=(1, 2, 30)), lambda x: np.searchsorted([1, 2, 30], x, side="right")),
        (Bucketize(buckets=3), lambda x: np.searchsorted([1, 2], x, side="right")),
    ],
)
def test_numeric_encoder_formula_equals_numpy(
    feature: NumericEncoder, formula: Callable[[Any], Any]
) -> None:
    values = np.linspace(0.5, 40, 301)
    np.testing.assert_allclose(scaled(feature, values), formula(values), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize(
    "feature",
    [
        Number(),
        MinMax(range=(-1, 3)),
        ZScore(),
        MaxAbs(),
        Robust(),
        Sigmoid(standardize=True),
        Tanh(standardize=True),
        LogNormal(),
    ],
)
def test_numeric_encoder_inverse_returns_the_input(feature: NumericEncoder) -> None:
    model = FeatureModel(name="t", rows=6, features=(fitted_number(feature),))
    frame = pd.DataFrame({"x": [*X, np.nan]})
    back = model.inverse_transform_pandas(model.transform_pandas(frame))
    np.testing.assert_allclose(back["x"], frame["x"], rtol=1e-12)


@pytest.mark.parametrize("feature", [Bucketize(edges=(1,)), LogNormal(output="cdf")])
def test_inverse_transform_without_an_inverse_uses_another_feature_or_none(
    feature: NumericEncoder,
) -> None:
    frame = pd.DataFrame({"f": [0.5], "g": [2.0]})
    assert model_of(fitted_number(feature)).inverse_transform_pandas(frame).columns.tolist() == []
    other = fitted_number(Number()).model_copy(update={"name": "g"})
    assert model_of(fitted_number(feature), other).inverse_transform_pandas(
        frame
    ).to_numpy().tolist() == [[2.0]]


@pytest.mark.parametrize(
    ("handle_null", "filled"),
    [("keep", np.nan), ("mean", 2.0), ("median", 1.0), ("mode", 1.0), (7.0, 7.0)],
)
def test_handle_null_imputes_and_add_indicator_marks(handle_null: Any, filled: float) -> None:
    values = np.array([1.0, 1.0, 4.0, np.nan])
    feature = Number(handle_null=handle_null, add_indicator=True)
    model = FeatureModel(name="t", rows=4, features=(fitted_number(feature, values),))
    for rows in (values, [1, 1, 4, None], pd.array([1, 1, 4, pd.NA], dtype="Int64")):
        array = np.asarray(rows, dtype=object) if isinstance(rows, list) else rows
        got = model.transform_numpy({"x": array})
        np.testing.assert_array_equal(got, [[1, 0], [1, 0], [4, 0], [filled, 1]])


def test_handle_null_mean_stays_in_the_range_at_fit() -> None:
    for values in (np.full(3, 0.1), np.full(3, -0.1)):
        for policy in ("error", "null", "clip"):
            feature = MinMax(handle_null="mean", out_of_range=policy)
            known = number_statistics(values, feature) | {"mean": sum(values.tolist()) / 3}
            assert known["mean"] != values[0]
            model = model_of(learn(feature, known))
            assert model.transform_numpy({"x": None}).tolist() == [0.0]


def test_scalers_constant_column_gives_exact_values() -> None:
    tenths = np.full(10, 0.1)
    for feature in (ZScore(), Robust(), MinMax(), Sigmoid(standardize=True)):
        inside = scaled(feature, [0.1], tenths)[0]
        assert inside == (0.5 if isinstance(feature, Sigmoid) else 0.0)
    assert scaled(MaxAbs(), [0.0, 3.0], np.zeros(3)).tolist() == [0.0, 3.0]


def test_min_max_ends_of_the_range_stay_within_it() -> None:
    generator = np.random.default_rng(3)
    for _ in range(200):
        low, high = sorted(generator.normal(size=2))
        data = generator.normal(size=50) * 10.0 ** generator.integers(-5, 5)
        got = scaled(MinMax(range=(low, high)), data, data)
        assert low <= got.min()
        assert got.max() <= high


@pytest.mark.parametrize(
    ("feature", "values", "message"),
    [
        (MinMax(), [np.nan, np.inf], "no finite value"),
        (MinMax(), [-1.7e308, 1.7e308], "wider than a double can hold"),
        (LogNormal(), [-1.0, 0.0], "no positive value"),
        (MinMax(handle_null="error"), [1.0, np.nan], r"1 missing value\(s\)"),
    ],
)
def test_fitted_number_learn_unfit_data_raises(
    feature: NumericEncoder, values: list[float], message: str
) -> None:
    array = np.array(values)
    statistics_ = number_statistics(np.array([1.0, 2.0]), feature)
    there = array[np.isfinite(array)]
    statistics_ |= {"rows": len(there), "missing": int(np.isnan(array).sum())}
    if len(there):
        statistics_ |= {"minimum": there.min(), "maximum": there.max()}
    if message == "no positive value":
        statistics_ |= {"log_mean": None, "log_std": None}
    with pytest.raises(InputError, match=message):
        learn(feature, statistics_)


@pytest.mark.parametrize(
    "chosen",
    [{}, {"edges": (1, 1)}, {"edges": (2, 1)}, {"edges": (1,), "buckets": 3}, {"buckets": 1}],
)
def test_bucketize_needs_rising_edges_or_a_number(chosen: dict[str, Any]) -> None:
    with pytest.raises(ParameterError):
        Bucketize(**chosen)


def test_curve_scalers_extreme_values_give_the_limit() -> None:
    for feature, limits in [(Sigmoid(), (0.0, 1.0)), (Tanh(), (-1.0, 1.0))]:
        assert scaled(feature, [-math.inf, math.inf]).tolist() == list(limits)
        model = model_of(fitted_number(feature))
        rows = [model.transform_numpy({"x": x})[0] for x in (-math.inf, -1e9, 1e9, math.inf)]
        assert rows == [limits[0], limits[0], limits[1], limits[1]]
