"""Feature models: pandas, JSON, copies, and errors of wrong input."""

import json
import pickle
from typing import Any

import numpy as np
import pandas as pd
import pytest
from tests.support.fitted_features import (
    fitted_categories,
    fitted_number,
    model_of,
)

from matchlake.errors import ModelError, SchemaError
from matchlake.features.categories import MultiHot, OneHot
from matchlake.features.feature_set import FeatureSet
from matchlake.features.fit import changed_since
from matchlake.features.model import FeatureModel
from matchlake.features.scalers import MinMax, Number


def test_transform_pandas_repeated_index_keeps_the_rows() -> None:
    lists = fitted_categories(MultiHot, "array<string>").model_copy(
        update={"name": "g", "column": "l"}
    )
    model = model_of(fitted_number(Number()), lists).model_copy(update={"keys": ("id",)})
    frame = pd.DataFrame(
        {"id": [1, 2, 3], "x": [0.5, 1.0, 2.0], "l": [["1"], [], ["2", "1"]]}, index=[7, 7, 7]
    )
    found = model.transform_pandas(frame)
    indices = model.transform_pandas(frame, "index")
    back = model.inverse_transform_pandas(found)
    for each in (found, indices, back):
        assert each.index.tolist() == [7, 7, 7]
        assert each["id"].tolist() == [1, 2, 3]
    assert found["f"].tolist() == indices["f"].tolist() == back["x"].tolist() == [0.5, 1.0, 2.0]
    assert indices["g"].tolist() == [[1], [], [1, 2]]
    assert back["l"].tolist() == [["1"], [], ["1", "2"]]


def test_model_copy_with_other_features_runs_those() -> None:
    model = model_of(fitted_number(MinMax()))
    assert model.transform_numpy({"x": 40.0}).tolist() == [1.0]
    copy = model.model_copy(update={"features": (fitted_number(Number()),)})
    assert copy.transform_numpy({"x": 40.0}).tolist() == [40.0]
    assert model.transform_numpy({"x": 40.0}).tolist() == [1.0]


def test_changed_since_names_the_differences() -> None:
    model = model_of(
        fitted_categories(OneHot, "string"),
        fitted_number(Number()).model_copy(update={"name": "g"}),
    )
    kept: dict[str, Any] = {"f": OneHot(), "g": Number()}
    for declared, keys, expected in [
        (kept, (), []),
        (kept, ("id",), ["keys"]),
        ({"g": Number(), "f": OneHot()}, (), ["order"]),
        ({"f": OneHot(min_rows=2), "h": Number()}, (), ["f", "g", "h"]),
        ({"f": OneHot(), "g": Number(column="y")}, (), ["g"]),
    ]:
        assert changed_since(model, FeatureSet(name="t", keys=keys, features=declared)) == expected


def test_transform_wrong_input_is_named() -> None:
    model = model_of(
        fitted_categories(OneHot, "string"),
        fitted_number(MinMax()).model_copy(update={"column": "y"}),
    )
    with pytest.raises(SchemaError, match=r"input of the features: y\. Available: x"):
        model.transform_numpy({"x": "1"})
    with pytest.raises(SchemaError, match="equal length"):
        model.transform_numpy({"x": np.array(["1"]), "y": np.array([1.0, 2.0])})
    with pytest.raises(SchemaError, match="Expected a string, but found a value of type int"):
        model.transform_numpy({"x": 1, "y": 2.0})
    with pytest.raises(SchemaError, match=r"frame of feature set t: x\. Available: y"):
        model.transform_pandas(pd.DataFrame({"y": [1.0]}))


def test_model_json_and_pickle_round_trip() -> None:
    model = model_of(
        fitted_categories(OneHot, "string"), fitted_number(MinMax(), np.array([0.1, 1 / 3]))
    )
    row = {"x": "2"}
    alone = model_of(model.features[0])
    expected = alone.transform_numpy(row).tolist()
    assert FeatureModel.from_json(model.to_json()) == model
    assert pickle.loads(pickle.dumps(alone)).transform_numpy(row).tolist() == expected  # noqa: S301
    assert alone == model_of(model.features[0])
    assert json.loads(model.to_json())["features"][1]["learned"]["maximum"] == 1 / 3


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"schema_version": 2}', '{"name": 1'])
def test_from_json_other_text_raises(text: str) -> None:
    with pytest.raises(ModelError, match="not a feature model of schema version 1"):
        FeatureModel.from_json(text)
