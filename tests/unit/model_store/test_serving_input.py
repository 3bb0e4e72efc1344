"""The rows of a served model, from every shape that a caller may send."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from matchlake.errors import SchemaError
from matchlake.model_store.serving_input import exclusions_of, require_kind, rows_of


def test_one_row_of_lists_is_unpacked() -> None:
    sent = pd.DataFrame([{"user_id": ["a", "b"], "item_id": np.array(["x", "y"]), "k": None}])
    rows = rows_of(sent, "user_id", "item_id")
    assert rows.to_dict("list") == {"user_id": ["a", "b"], "item_id": ["x", "y"]}


@pytest.mark.parametrize(
    ("exclude", "expected"), [(["x"], [["x"]]), ([["x"]], [["x"]]), ([None], [()]), (None, [()])]
)
def test_exclusions_of_one_user(exclude: Any, expected: Any) -> None:
    sent = pd.DataFrame([{"user_id": ["a"], "exclude_seen": exclude}])
    assert exclusions_of(rows_of(sent, "user_id"), ["x"]) == expected


def test_columns_of_different_lengths_are_refused() -> None:
    sent = pd.DataFrame([{"user_id": ["a", "b"], "item_id": ["x"]}])
    with pytest.raises(SchemaError, match=r"user_id 2, item_id 1.*dataframe_records"):
        rows_of(sent, "user_id", "item_id")
    flat = pd.DataFrame([{"user_id": ["a", "b"], "exclude_seen": ["x", "y"]}])
    with pytest.raises(SchemaError, match="exclude_seen 'x' is no list"):
        exclusions_of(rows_of(flat, "user_id"), ["x"])


@pytest.mark.parametrize("value", [5, 5.0, True, np.int64(5)])
def test_other_types_than_strings_are_refused(value: Any) -> None:
    with pytest.raises(SchemaError, match=r"such as 'a'\. Send user_id as strings"):
        require_kind([None, "a", value], "user_id", ["a"])


@pytest.mark.parametrize("value", ["5", 5.5, True])
def test_other_types_than_integers_are_refused(value: Any) -> None:
    with pytest.raises(SchemaError, match=r"such as 1\. Send user_id as integers"):
        require_kind([None, 5, np.int32(5), value], "user_id", [1])
