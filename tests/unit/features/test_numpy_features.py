"""Scaling formulas against NumPy's own arithmetic, forth and back, without Spark."""

import json
import math
import pickle
import statistics
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError
from scipy import special

from matchlake.errors import InputError, ModelError, SchemaError
from matchlake.features.buckets import Bucket
from matchlake.features.categories import Category, FittedCategories, MultiHot, OneHot
from matchlake.features.curves import LogNormal, Sigmoid, Tanh
from matchlake.features.feature_set import FeatureSet
from matchlake.features.fit import changed_since
from matchlake.features.learn import learn_number
from matchlake.features.model import FeatureModel
from matchlake.features.numbers import FittedNumber
from matchlake.features.scalers import MaxAbs, Robust, ZScore
from matchlake.features.scaling import MinMax, Number, NumberFeature

X = np.array([0.5, 1.0, 2.0, 2.0, 7.5, 40.0])
MEAN, DEVIATION = X.mean(), X.std()
LOGS = np.log(X)


def found(values: Any, feature: NumberFeature) -> dict[str, Any]:
    """The statistics that Spark would collect, by NumPy."""
    there = values[np.isfinite(values)]
    positive = np.log(there[there > 0]) if (there > 0).any() else np.array([np.nan])
    needs = {
        "mean": there.mean(),
        "deviation": there.std(),
        "log_mean": positive.mean(),
        "log_deviation": positive.std(),
        "mode": statistics.mode(sorted(there)),
    }
    shares = feature.shares()
    quantiles = np.quantile(there, shares, method="inverted_cdf") if shares else ()
    return {
        "rows": len(there),
        "missing": int(np.isnan(values).sum()),
        "infinite": int(np.isinf(values).sum()),
        "minimum": there.min(),
        "maximum": there.max(),
        **{need: needs[need] for need in feature.needs()},
        "quantiles": tuple(zip(shares, quantiles, strict=True)),
    }


def fitted(feature: NumberFeature, values: Any = X) -> FittedNumber:
    return learn_number("f", "x", "double", feature, found(values, feature))


def scaled(feature: NumberFeature, values: Any, fit_on: Any = X) -> Any:
    model = FeatureModel(name="t", rows=len(fit_on), features=(fitted(feature, fit_on),))
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
            LogNormal(output="share"),
            lambda x: special.ndtr((np.log(x) - LOGS.mean()) / LOGS.std()),
        ),
        (Bucket(edges=(1, 2, 30)), lambda x: np.searchsorted([1, 2, 30], x, side="right")),
        (Bucket(quantiles=3), lambda x: np.searchsorted([1, 2], x, side="right")),
    ],
)
def test_formulas_agree_with_numpy(feature: NumberFeature, formula: Callable[[Any], Any]) -> None:
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
def test_inverses_lead_back(feature: NumberFeature) -> None:
    model = FeatureModel(name="t", rows=6, features=(fitted(feature),))
    frame = pd.DataFrame({"x": [*X, np.nan]})
    back = model.inverse_pandas(model.transform_pandas(frame))
    np.testing.assert_allclose(back["x"], frame["x"], rtol=1e-12)


@pytest.mark.parametrize("feature", [Bucket(edges=(1,)), LogNormal(output="share")])
def test_what_has_no_inverse_is_left_out_or_comes_from_another_feature(
    feature: NumberFeature,
) -> None:
    frame = pd.DataFrame({"f": [0.5], "g": [2.0]})
    assert model_of(fitted(feature)).inverse_pandas(frame).columns.tolist() == []
    other = fitted(Number()).model_copy(update={"name": "g"})
    assert model_of(fitted(feature), other).inverse_pandas(frame).to_numpy().tolist() == [[2.0]]


@pytest.mark.parametrize(
    ("nulls", "filled"),
    [("keep", np.nan), ("mean", 2.0), ("median", 1.0), ("mode", 1.0), (7.0, 7.0)],
)
def test_missing_values_follow_the_policy(nulls: Any, filled: float) -> None:
    values = np.array([1.0, 1.0, 4.0, np.nan])
    feature = Number(nulls=nulls, flag_nulls=True)
    model = FeatureModel(name="t", rows=4, features=(fitted(feature, values),))
    for rows in (values, [1, 1, 4, None], pd.array([1, 1, 4, pd.NA], dtype="Int64")):
        array = np.asarray(rows, dtype=object) if isinstance(rows, list) else rows
        got = model.transform_numpy({"x": array})
        np.testing.assert_array_equal(got, [[1, 0], [1, 0], [4, 0], [filled, 1]])


def test_a_filled_mean_is_never_outside_the_range_at_fit() -> None:
    for values in (np.full(3, 0.1), np.full(3, -0.1)):
        for policy in ("error", "null", "clip"):
            feature = MinMax(nulls="mean", out_of_range=policy)
            known = found(values, feature) | {"mean": sum(values.tolist()) / 3}
            assert known["mean"] != values[0]
            model = model_of(learn_number("f", "x", "double", feature, known))
            assert model.transform_numpy({"x": None}).tolist() == [0.0]


def test_constant_columns_are_scaled_without_noise() -> None:
    tenths = np.full(10, 0.1)
    for feature in (ZScore(), Robust(), MinMax(), Sigmoid(standardize=True)):
        inside = scaled(feature, [0.1], tenths)[0]
        assert inside == (0.5 if isinstance(feature, Sigmoid) else 0.0)
    assert scaled(MaxAbs(), [0.0, 3.0], np.zeros(3)).tolist() == [0.0, 3.0]


def test_values_at_the_ends_of_the_range_stay_within_it() -> None:
    generator = np.random.default_rng(3)
    for _ in range(200):
        low, high = sorted(generator.normal(size=2))
        data = generator.normal(size=50) * 10.0 ** generator.integers(-5, 5)
        got = scaled(MinMax(range=(low, high)), data, data)
        assert low <= got.min()
        assert got.max() <= high


@pytest.mark.parametrize(
    ("feature", "values", "told"),
    [
        (MinMax(), [np.nan, np.inf], "no finite value"),
        (MinMax(), [-1.7e308, 1.7e308], "wider than a double can hold"),
        (LogNormal(), [-1.0, 0.0], "no positive value"),
        (MinMax(nulls="error"), [1.0, np.nan], r"1 missing value\(s\)"),
    ],
)
def test_data_that_cannot_be_fitted_is_refused(
    feature: NumberFeature, values: list[float], told: str
) -> None:
    array = np.array(values)
    statistics_ = found(np.array([1.0, 2.0]), feature)
    there = array[np.isfinite(array)]
    statistics_ |= {"rows": len(there), "missing": int(np.isnan(array).sum())}
    if len(there):
        statistics_ |= {"minimum": there.min(), "maximum": there.max()}
    if told == "no positive value":
        statistics_ |= {"log_mean": None, "log_deviation": None}
    with pytest.raises(InputError, match=told):
        learn_number("f", "x", "double", feature, statistics_)


def categories(kind: type[OneHot | MultiHot], type_name: str, **chosen: Any) -> FittedCategories:
    return FittedCategories(
        name="f",
        column="x",
        type=type_name,
        feature=kind(**chosen),
        categories=tuple(
            Category(value=value, column=f"f_{value}", rows=1) for value in ("1", "2", "true")
        ),
        null_column="f_null" if chosen.get("nulls") == "column" else None,
        other_column="f_other" if chosen.get("other") == "column" else None,
    )


def model_of(*features: FittedNumber | FittedCategories) -> FeatureModel:
    return FeatureModel(name="t", rows=1, features=features)


@pytest.mark.parametrize(
    ("type_name", "values", "ones"),
    [
        ("string", np.array(["1", None, "x"], dtype=object), [0, 3, 4]),
        ("bigint", np.array([1, 2, 3]), [0, 1, 4]),
        ("int", np.array([1.0, np.nan, 9.0]), [0, 3, 4]),
        ("boolean", np.array([True, False]), [2, 4]),
        ("boolean", np.array([True, None, False], dtype=object), [2, 3, 4]),
    ],
)
def test_values_of_any_type_find_their_category(
    type_name: str, values: Any, ones: list[int]
) -> None:
    model = model_of(categories(OneHot, type_name, nulls="column", other="column"))
    got = model.transform_numpy({"x": values})
    assert got.argmax(axis=1).tolist() == ones
    assert (got.sum(axis=1) == 1).all()
    rows = [model.transform_numpy({"x": value}).argmax() for value in values.tolist()]
    assert rows == ones


def test_lists_light_every_category_they_hold() -> None:
    model = model_of(categories(MultiHot, "array<string>", nulls="column", other="column"))
    values = [["1", "true", "1"], [], None, [None, "x"], np.array(["2"], dtype=object)]
    column = np.empty(len(values), dtype=object)
    column[:] = values
    expected = [[1, 0, 1, 0, 0], [0] * 5, [0, 0, 0, 1, 0], [0, 0, 0, 0, 1], [0, 1, 0, 0, 0]]
    assert model.transform_numpy({"x": column}).tolist() == expected
    rows = [model.transform_numpy({"x": each}).tolist() for each in (*values[:4], ["2"])]
    assert rows == expected


def test_a_row_may_have_its_list_as_an_array() -> None:
    lists = categories(MultiHot, "array<string>").model_copy(update={"name": "g", "column": "l"})
    both = model_of(lists, categories(OneHot, "string"))
    frame = pd.DataFrame({"x": ["2", "1"], "l": [np.array(["1", "true"]), np.array([], "O")]})
    rows = [both.transform_numpy(row).tolist() for row in frame.to_dict("records")]
    assert rows == [[1, 0, 1, 0, 1, 0], [0, 0, 0, 1, 0, 0]]
    assert both.transform_numpy({name: frame[name] for name in frame}).tolist() == rows
    alone, column = model_of(lists), np.array([["1"], None], dtype=object)
    assert alone.transform_numpy({"l": np.array(["1", None], "O")}).tolist() == [1, 0, 0]
    assert alone.transform_numpy({"l": column}).tolist() == [[1, 0, 0], [0, 0, 0]]
    assert alone.transform_numpy({"l": pd.Series(column)}).tolist() == [[1, 0, 0], [0, 0, 0]]
    assert alone.transform_numpy({"l": []}).tolist() == [0, 0, 0]


@pytest.mark.parametrize("null", [None, math.nan, np.float32("nan"), pd.NA, pd.NaT])
def test_any_null_in_place_of_a_list_is_a_null(null: Any) -> None:
    model = model_of(categories(MultiHot, "array<string>", nulls="column"))
    assert model.transform_numpy({"x": null}).tolist() == [0, 0, 0, 1]
    column = np.array([None, ["1"]], dtype=object)
    column[0] = null
    assert model.transform_numpy({"x": column}).tolist() == [[0, 0, 0, 1], [1, 0, 0, 0]]


@pytest.mark.parametrize(
    ("chosen", "value", "told"),
    [({"nulls": "error"}, None, "has a null"), ({"other": "error"}, "x", "was not there at fit")],
)
def test_refused_values_raise_in_arrays_and_rows(
    chosen: dict[str, Any], value: str | None, told: str
) -> None:
    model = model_of(categories(OneHot, "string", **chosen))
    for given in (value, np.array(["1", value], dtype=object)):
        with pytest.raises(InputError, match=told):
            model.transform_numpy({"x": given})


def test_a_dropped_first_category_is_no_other_value() -> None:
    fitted_ = categories(OneHot, "string", drop_first=True, other="column")
    assert [output.name for output in fitted_.outputs()] == ["f_2", "f_true", "f_other"]
    model = model_of(fitted_)
    column = np.array(["1", "2", "x", None], dtype=object)
    expected = [[0, 0, 0], [1, 0, 0], [0, 0, 1], [0, 0, 0]]
    assert model.transform_numpy({"x": column}).tolist() == expected


@pytest.mark.parametrize("dropped", [False, True])
def test_categories_lead_back(dropped: bool) -> None:  # noqa: FBT001
    one = categories(OneHot, "string", drop_first=dropped, nulls="column", other="column")
    frame = pd.DataFrame({"x": pd.Series(["1", "2", None, "never"], dtype=object)})
    back = model_of(one).inverse_pandas(model_of(one).transform_pandas(frame))
    assert back["x"].tolist() == ["1", "2", None, None]
    many = model_of(categories(MultiHot, "array<string>", nulls="column", other="column"))
    lists = pd.DataFrame({"x": [["2", "1"], [], None, ["never", "true"]]})
    assert many.inverse_pandas(many.transform_pandas(lists))["x"].tolist() == [
        *(["1", "2"], [], None, ["true"]),
    ]


def test_a_feature_without_a_column_leads_back_too() -> None:
    one = categories(OneHot, "string", drop_first=True)
    one = one.model_copy(update={"categories": one.categories[:1]})
    many = categories(MultiHot, "array<string>").model_copy(
        update={"name": "g", "column": "l", "categories": ()}
    )
    model = model_of(one, many, fitted(Number()).model_copy(update={"column": "n", "name": "n"}))
    frame = pd.DataFrame({"x": ["1", "1"], "l": [["1"], None], "n": [0.5, 2.0]})
    back = model.inverse_pandas(model.transform_pandas(frame))
    assert back["x"].tolist() == ["1", "1"]
    assert back["l"].tolist() == [[], []]
    assert back["n"].tolist() == [0.5, 2.0]


@pytest.mark.parametrize(
    ("kind", "type_name", "value"),
    [
        (OneHot, "boolean", "false"),
        (OneHot, "boolean", 2),
        (MultiHot, "array<string>", "1|2"),
        (MultiHot, "array<string>", {"1"}),
        (MultiHot, "array<string>", 1),
    ],
)
def test_a_value_of_another_type_is_no_category(kind: Any, type_name: str, value: Any) -> None:
    model = model_of(categories(kind, type_name, nulls="column", other="column"))
    column = pd.Series([value], dtype=object)
    for given in (value, column):
        with pytest.raises(SchemaError, match="was expected, but a value is"):
            model.transform_numpy({"x": given})
    with pytest.raises(SchemaError, match="was expected, but a value is"):
        model.transform_pandas(pd.DataFrame({"x": column}))


def test_rows_stay_as_many_where_the_index_names_one_twice() -> None:
    lists = categories(MultiHot, "array<string>").model_copy(update={"name": "g", "column": "l"})
    model = model_of(fitted(Number()), lists).model_copy(update={"keys": ("id",)})
    frame = pd.DataFrame(
        {"id": [1, 2, 3], "x": [0.5, 1.0, 2.0], "l": [["1"], [], ["2", "1"]]}, index=[7, 7, 7]
    )
    found = model.transform_pandas(frame)
    slots = model.transform_pandas(frame, "slots")
    back = model.inverse_pandas(found)
    for each in (found, slots, back):
        assert each.index.tolist() == [7, 7, 7]
        assert each["id"].tolist() == [1, 2, 3]
    assert found["f"].tolist() == slots["f"].tolist() == back["x"].tolist() == [0.5, 1.0, 2.0]
    assert slots["g"].tolist() == [[1], [], [1, 2]]
    assert back["l"].tolist() == [["1"], [], ["1", "2"]]


def test_zeros_lead_back_to_the_dropped_category_whatever_they_were() -> None:
    model = model_of(categories(OneHot, "string", drop_first=True))
    frame = pd.DataFrame({"x": pd.Series(["1", "2", None, "never"], dtype=object)})
    back = model.inverse_pandas(model.transform_pandas(frame))
    assert back["x"].tolist() == ["1", "2", "1", "1"]


def test_a_copy_with_other_features_runs_those() -> None:
    model = model_of(fitted(MinMax()))
    assert model.transform_numpy({"x": 40.0}).tolist() == [1.0]
    copy = model.model_copy(update={"features": (fitted(Number()),)})
    assert copy.transform_numpy({"x": 40.0}).tolist() == [40.0]
    assert model.transform_numpy({"x": 40.0}).tolist() == [1.0]


def test_what_differs_from_the_declaration_is_named() -> None:
    model = model_of(
        categories(OneHot, "string"), fitted(Number()).model_copy(update={"name": "g"})
    )
    kept: dict[str, Any] = {"f": OneHot(), "g": Number()}
    for declared, keys, told in [
        (kept, (), []),
        (kept, ("id",), ["keys"]),
        ({"g": Number(), "f": OneHot()}, (), ["order"]),
        ({"f": OneHot(min_rows=2), "h": Number()}, (), ["f", "g", "h"]),
        ({"f": OneHot(), "g": Number(column="y")}, (), ["g"]),
    ]:
        assert changed_since(model, FeatureSet(name="t", keys=keys, features=declared)) == told


def test_wrong_input_is_named() -> None:
    model = model_of(
        categories(OneHot, "string"), fitted(MinMax()).model_copy(update={"column": "y"})
    )
    with pytest.raises(SchemaError, match="read y, which is not given: there is x"):
        model.transform_numpy({"x": "1"})
    with pytest.raises(SchemaError, match="equal length"):
        model.transform_numpy({"x": np.array(["1"]), "y": np.array([1.0, 2.0])})
    with pytest.raises(SchemaError, match="A text was expected, but a value is of type int"):
        model.transform_numpy({"x": 1, "y": 2.0})
    with pytest.raises(SchemaError, match="reads x, which the frame lacks"):
        model.transform_pandas(pd.DataFrame({"y": [1.0]}))


def test_a_model_survives_json_and_pickle() -> None:
    model = model_of(categories(OneHot, "string"), fitted(MinMax(), np.array([0.1, 1 / 3])))
    row = {"x": "2"}
    alone = model_of(model.features[0])
    expected = alone.transform_numpy(row).tolist()
    assert FeatureModel.from_json(model.to_json()) == model
    assert pickle.loads(pickle.dumps(alone)).transform_numpy(row).tolist() == expected  # noqa: S301
    assert alone == model_of(model.features[0])
    assert json.loads(model.to_json())["features"][1]["learned"]["maximum"] == 1 / 3


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"schema_version": 2}', '{"name": 1'])
def test_what_is_no_model_is_refused(text: str) -> None:
    with pytest.raises(ModelError, match="not a feature model of schema version 1"):
        FeatureModel.from_json(text)


@pytest.mark.parametrize(
    "chosen",
    [{}, {"edges": (1, 1)}, {"edges": (2, 1)}, {"edges": (1,), "quantiles": 3}, {"quantiles": 1}],
)
def test_buckets_need_rising_edges_or_a_number(chosen: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Bucket(**chosen)


def test_extreme_values_do_not_overflow_where_the_limit_is_known() -> None:
    for feature, limits in [(Sigmoid(), (0.0, 1.0)), (Tanh(), (-1.0, 1.0))]:
        assert scaled(feature, [-math.inf, math.inf]).tolist() == list(limits)
        model = model_of(fitted(feature))
        rows = [model.transform_numpy({"x": x})[0] for x in (-math.inf, -1e9, 1e9, math.inf)]
        assert rows == [limits[0], limits[0], limits[1], limits[1]]
