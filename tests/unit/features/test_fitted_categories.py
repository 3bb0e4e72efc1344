"""Categorical encoders on NumPy arrays and on rows, and their inverse."""

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from tests.support.fitted_features import (
    fitted_categories,
    fitted_number,
    model_of,
)

from matchlake.errors import InputError, SchemaError
from matchlake.features.categories import MultiHot, OneHot
from matchlake.features.scalers import Number


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
def test_one_hot_values_of_any_type_find_their_category(
    type_name: str, values: Any, ones: list[int]
) -> None:
    model = model_of(
        fitted_categories(OneHot, type_name, handle_null="indicator", handle_unknown="indicator")
    )
    got = model.transform_numpy({"x": values})
    assert got.argmax(axis=1).tolist() == ones
    assert (got.sum(axis=1) == 1).all()
    rows = [model.transform_numpy({"x": value}).argmax() for value in values.tolist()]
    assert rows == ones


def test_multi_hot_gives_one_for_every_category_of_the_list() -> None:
    model = model_of(
        fitted_categories(
            MultiHot, "array<string>", handle_null="indicator", handle_unknown="indicator"
        )
    )
    values = [["1", "true", "1"], [], None, [None, "x"], np.array(["2"], dtype=object)]
    column = np.empty(len(values), dtype=object)
    column[:] = values
    expected = [[1, 0, 1, 0, 0], [0] * 5, [0, 0, 0, 1, 0], [0, 0, 0, 0, 1], [0, 1, 0, 0, 0]]
    assert model.transform_numpy({"x": column}).tolist() == expected
    rows = [model.transform_numpy({"x": each}).tolist() for each in (*values[:4], ["2"])]
    assert rows == expected


def test_transform_numpy_row_takes_a_list_as_an_array() -> None:
    lists = fitted_categories(MultiHot, "array<string>").model_copy(
        update={"name": "g", "column": "l"}
    )
    both = model_of(lists, fitted_categories(OneHot, "string"))
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
def test_multi_hot_any_kind_of_null_is_a_null_list(null: Any) -> None:
    model = model_of(fitted_categories(MultiHot, "array<string>", handle_null="indicator"))
    assert model.transform_numpy({"x": null}).tolist() == [0, 0, 0, 1]
    column = np.array([None, ["1"]], dtype=object)
    column[0] = null
    assert model.transform_numpy({"x": column}).tolist() == [[0, 0, 0, 1], [1, 0, 0, 0]]


@pytest.mark.parametrize(
    ("chosen", "value", "message"),
    [
        ({"handle_null": "error"}, None, "has a null"),
        ({"handle_unknown": "error"}, "x", "was not there at fit"),
    ],
)
def test_handle_error_raises_for_arrays_and_rows(
    chosen: dict[str, Any], value: str | None, message: str
) -> None:
    model = model_of(fitted_categories(OneHot, "string", **chosen))
    for given in (value, np.array(["1", value], dtype=object)):
        with pytest.raises(InputError, match=message):
            model.transform_numpy({"x": given})


def test_drop_first_category_is_not_unknown() -> None:
    fitted_ = fitted_categories(OneHot, "string", drop="first", handle_unknown="indicator")
    assert [output.name for output in fitted_.outputs()] == ["f_2", "f_true", "f_unknown"]
    model = model_of(fitted_)
    column = np.array(["1", "2", "x", None], dtype=object)
    expected = [[0, 0, 0], [1, 0, 0], [0, 0, 1], [0, 0, 0]]
    assert model.transform_numpy({"x": column}).tolist() == expected


@pytest.mark.parametrize("dropped", [False, True])
def test_inverse_transform_returns_categories(dropped: bool) -> None:  # noqa: FBT001
    one = fitted_categories(
        OneHot,
        "string",
        drop="first" if dropped else None,
        handle_null="indicator",
        handle_unknown="indicator",
    )
    frame = pd.DataFrame({"x": pd.Series(["1", "2", None, "never"], dtype=object)})
    back = model_of(one).inverse_transform_pandas(model_of(one).transform_pandas(frame))
    assert back["x"].tolist() == ["1", "2", None, None]
    many = model_of(
        fitted_categories(
            MultiHot, "array<string>", handle_null="indicator", handle_unknown="indicator"
        )
    )
    lists = pd.DataFrame({"x": [["2", "1"], [], None, ["never", "true"]]})
    assert many.inverse_transform_pandas(many.transform_pandas(lists))["x"].tolist() == [
        *(["1", "2"], [], None, ["true"]),
    ]


def test_inverse_transform_feature_without_columns_works() -> None:
    one = fitted_categories(OneHot, "string", drop="first")
    one = one.model_copy(update={"categories": one.categories[:1]})
    many = fitted_categories(MultiHot, "array<string>").model_copy(
        update={"name": "g", "column": "l", "categories": ()}
    )
    model = model_of(
        one, many, fitted_number(Number()).model_copy(update={"column": "n", "name": "n"})
    )
    frame = pd.DataFrame({"x": ["1", "1"], "l": [["1"], None], "n": [0.5, 2.0]})
    back = model.inverse_transform_pandas(model.transform_pandas(frame))
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
def test_transform_value_of_another_type_raises(kind: Any, type_name: str, value: Any) -> None:
    model = model_of(
        fitted_categories(kind, type_name, handle_null="indicator", handle_unknown="indicator")
    )
    column = pd.Series([value], dtype=object)
    for given in (value, column):
        with pytest.raises(SchemaError, match=r"Expected .*, but found"):
            model.transform_numpy({"x": given})
    with pytest.raises(SchemaError, match=r"Expected .*, but found"):
        model.transform_pandas(pd.DataFrame({"x": column}))


def test_inverse_transform_zeros_are_the_dropped_category() -> None:
    model = model_of(fitted_categories(OneHot, "string", drop="first"))
    frame = pd.DataFrame({"x": pd.Series(["1", "2", None, "never"], dtype=object)})
    back = model.inverse_transform_pandas(model.transform_pandas(frame))
    assert back["x"].tolist() == ["1", "2", "1", "1"]
