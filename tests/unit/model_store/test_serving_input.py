"""The rows of a served model, from every shape that a caller may send."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from matchlake.errors import SchemaError
from matchlake.model_store.serving_input import exclusions_of, ids_of, rows_of


def test_one_row_of_lists_is_unpacked() -> None:
    sent = pd.DataFrame([{"user_id": ["a", "b"], "item_id": np.array(["x", "y"]), "k": None}])
    rows = rows_of(sent, "user_id", "item_id")
    assert rows.to_dict("list") == {"user_id": ["a", "b"], "item_id": ["x", "y"]}


@pytest.mark.parametrize(
    ("exclude", "expected"), [(["x"], [["x"]]), ([["x"]], [["x"]]), ([None], [()]), (None, [()])]
)
def test_exclusions_of_one_user(exclude: Any, expected: Any) -> None:
    sent = pd.DataFrame([{"user_id": ["a"], "exclude_seen": exclude}])
    assert exclusions_of(rows_of(sent, "user_id"), {"x": 0}) == expected


def test_columns_of_different_lengths_are_refused() -> None:
    sent = pd.DataFrame([{"user_id": ["a", "b"], "item_id": ["x"]}])
    with pytest.raises(SchemaError, match=r"user_id 2, item_id 1.*dataframe_records"):
        rows_of(sent, "user_id", "item_id")
    flat = pd.DataFrame([{"user_id": ["a", "b"], "exclude_seen": ["x", "y"]}])
    with pytest.raises(SchemaError, match="exclude_seen 'x' is not a list"):
        exclusions_of(rows_of(flat, "user_id"), {"x": 0})


KNOWN: dict[str, dict[Any, int]] = {"strings": {"a": 0}, "integers": {1: 0}}
EXACT = [("strings", 5, "5"), ("strings", np.int64(5), "5"), ("integers", "5", 5)]
EXACT += [("integers", 5.0, 5), ("integers", np.int32(5), 5), ("integers", None, None)]


@pytest.mark.parametrize(("kind", "value", "expected"), EXACT)
def test_ids_take_the_type_of_the_model_where_that_is_exact(
    kind: str, value: Any, expected: Any
) -> None:
    rows = pd.DataFrame({"user_id": pd.Series([value], dtype=object)})
    assert ids_of(rows, "user_id", KNOWN[kind]) == [expected]


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("strings", 5.0),
        ("strings", True),
        ("integers", "05"),
        ("integers", 5.5),
        ("integers", True),
    ],
)
def test_other_ids_are_refused(kind: str, value: Any) -> None:
    rows = pd.DataFrame({"user_id": pd.Series([value], dtype=object)})
    with pytest.raises(SchemaError, match=rf"user_id {value!r} .* such as .*\. Pass {kind}"):
        ids_of(rows, "user_id", KNOWN[kind])
