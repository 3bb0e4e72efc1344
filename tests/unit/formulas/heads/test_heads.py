"""Heads by known answers, and what no head can be."""

import math
from typing import Any

import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError

from matchlake.formulas.heads import AnyHead, CentroidsHead, Head, LinearHead, TreesHead
from matchlake.formulas.heads.sums import sum_last, sum_sql
from matchlake.formulas.sql import SPARK

HEAD: TypeAdapter[Head] = TypeAdapter(AnyHead)
NAN = float("nan")
LINEAR: dict[str, Any] = {
    "kind": "linear", "columns": ["a", "b"], "weights": [[2.0, -1.0]], "intercepts": [0.5],
}  # fmt: skip
CLASSES = LINEAR | {"labels": ["no", "yes"], "link": "logit"}
CENTERS: dict[str, Any] = {
    "kind": "centroids", "columns": ["a", "b"], "centers": [[0.0, 0.0], [3.0, 4.0]],
}  # fmt: skip
STUMP: dict[str, Any] = {
    "kind": "trees", "columns": ["a", "b"], "base": [10.0], "roots": [0], "targets": [0],
    "column": [1, -1, -1], "threshold": [2.0, 0.0, 0.0], "missing_left": [True, False, False],
    "left": [1, 0, 1], "right": [2, 0, 0], "values": [-1.0, 1.0],
}  # fmt: skip


def head(given: dict[str, Any]) -> Head:
    return HEAD.validate_python(given)


def test_linear_head_known_answers() -> None:
    rows = np.array([[1.0, 1.0], [0.0, NAN], [math.inf, math.inf]])
    found = head(LINEAR).numpy(rows)["prediction"]
    np.testing.assert_array_equal(found, [1.5, NAN, NAN])
    counts = head(LINEAR | {"link": "exp"}).numpy(rows)["prediction"]
    assert counts[0] == math.exp(1.5)


def test_logit_head_known_answers() -> None:
    found = head(CLASSES).numpy(np.array([[0.0, 0.5], [1.0, 0.0], [0.0, NAN], [-1e308, 1e308]]))
    assert found["prediction"].tolist() == ["no", "yes", None, "no"]
    np.testing.assert_allclose(found["probabilities"][0], [0.5, 0.5])
    np.testing.assert_allclose(found["probabilities"][1, 1], 1 / (1 + math.exp(-2.5)), rtol=1e-15)
    assert np.isnan(found["probabilities"][2]).all()
    assert found["probabilities"][3].tolist() == [1.0, 0.0]


def test_softmax_head_survives_large_scores() -> None:
    made = head(
        CLASSES
        | {"labels": ["x", "y", "z"], "link": "softmax", "intercepts": [0.0, 0.0, 0.0]}
        | {"weights": [[1.0, 1.0], [0.0, 1.0], [1.0, 1.0]]}
    )
    found = made.numpy(np.array([[1000.0, 0.0], [-1e308, 1e308], [1e308, 1e308]]))
    assert found["prediction"].tolist() == ["x", "y", "x"]
    assert found["probabilities"].tolist() == [[0.5, 0.0, 0.5], [0.0, 1.0, 0.0], [0.5, 0.0, 0.5]]


def test_tree_head_known_answers() -> None:
    rows = np.array([[0.0, 2.0], [0.0, 2.1], [NAN, NAN], [0.0, -math.inf]])
    assert head(STUMP).numpy(rows)["prediction"].tolist() == [9.0, 11.0, 9.0, 9.0]
    refusing = head(STUMP | {"missing": "null"}).numpy(rows)["prediction"]
    np.testing.assert_array_equal(refusing, [9.0, 11.0, NAN, 9.0])
    present = head(STUMP | {"threshold": [None, 0.0, 0.0], "missing_left": [False] * 3})
    rows[1, 1] = math.inf
    assert present.numpy(rows)["prediction"].tolist() == [9.0, 9.0, 11.0, 9.0]


def test_centroids_head_known_answers() -> None:
    found = head(CENTERS).numpy(np.array([[3.0, 0.0], [1.5, 2.0], [NAN, 0.0]]))
    assert found["prediction"].tolist() == [0, 0, -1]
    np.testing.assert_array_equal(found["distances"], [[3.0, 4.0], [2.5, 2.5], [NAN, NAN]])


def test_no_rows_give_no_outputs() -> None:
    for each in (LINEAR, CLASSES, CENTERS, STUMP):
        for values in head(each).numpy(np.empty((0, 2))).values():
            assert len(values) == 0


@pytest.mark.parametrize("count", [1, 2, 3, 5, 8, 33])
def test_sums_add_neighbours_first(count: int) -> None:
    terms = np.random.default_rng(count).normal(size=count) * 10.0 ** np.arange(count)
    text = sum_sql([repr(float(each)) for each in terms])
    assert sum_last(terms[None])[0] == eval(text)  # noqa: S307 - plain arithmetic of this test


@pytest.mark.parametrize(
    ("given", "change", "message"),
    [
        (LINEAR, {"weights": [[1.0]]}, "2 weights"),
        (LINEAR, {"weights": [[1.0, NAN]]}, "finite"),
        (LINEAR, {"intercepts": [1.0, 2.0]}, "1 score"),
        (LINEAR, {"link": "logit"}, "needs labels"),
        (LINEAR, {"columns": ["a", "a"]}, "twice"),
        (LINEAR, {"columns": []}, "at least 1"),
        (LINEAR, {"labels": ["x", "y"]}, "only classifications have them"),
        (LINEAR, {"other": 1}, "not permitted"),
        (CLASSES, {"labels": ["x", "y", "z"]}, "for two labels"),
        (CLASSES, {"labels": ["x", "x"]}, "twice"),
        (CLASSES, {"labels": ["x"]}, "at least 2"),
        (CLASSES, {"labels": ["x", "y\0"]}, "the character 0 or 1"),
        (CENTERS, {"centers": [[1.0]]}, "2 numbers"),
        (CENTERS, {"centers": []}, "at least 1"),
        (CENTERS, {"labels": ["x", "y"]}, "no labels"),
        (STUMP, {"left": [0, 0, 1]}, "after its parent"),
        (STUMP, {"right": [9, 0, 0]}, "after its parent"),
        (STUMP, {"right": [1, 0, 0]}, "child of one node"),
        (STUMP, {"left": [1, 0, 2]}, "one of the 2 leaves"),
        (STUMP, {"column": [2, -1, -1]}, "column 2 of 2"),
        (STUMP, {"column": [-2, -1, -1]}, "greater than or equal"),
        (STUMP, {"roots": [3]}, "there are 3 nodes"),
        (STUMP, {"roots": []}, "at least 1"),
        (STUMP, {"targets": [1]}, "one of the scores"),
        (STUMP, {"threshold": [math.inf, 0.0, 0.0]}, "finite"),
        (STUMP, {"threshold": [1.0]}, "has 1 nodes"),
        (STUMP, {"base": [0.0, 1.0]}, "1 score"),
        (STUMP, {"width": 2}, "a leaf has 1"),
        (STUMP, {"labels": ["x", "y"]}, "2 score"),
        (STUMP, {"kind": "forest"}, "does not match any of the expected tags"),
    ],
)
def test_lists_that_do_not_fit_are_refused(
    given: dict[str, Any], change: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValidationError, match=message):
        head(given | change)


def test_large_heads_say_why_they_have_no_sql() -> None:
    names = tuple(f"c{i}" for i in range(1001))
    linear = LinearHead(columns=names, weights=((1.0,) * 1001,), intercepts=(0.0,))
    assert "1001 terms" in str(linear.sql_limit())
    centers = CentroidsHead(columns=names, centers=((1.0,) * 1001,))
    assert "1001 terms" in str(centers.sql_limit())
    depth = 31
    chain: dict[str, Any] = {
        "column": [0, -1] * depth + [-1],
        "left": [own + 1 if own % 2 == 0 else 0 for own in range(2 * depth)] + [0],
        "right": [own + 2 if own % 2 == 0 else 0 for own in range(2 * depth)] + [0],
        "threshold": [0.0] * (2 * depth + 1),
        "missing_left": [False] * (2 * depth + 1),
    }
    deep = head(STUMP | chain)
    assert isinstance(deep, TreesHead)
    assert "31 levels" in str(deep.sql_limit())
    assert head(STUMP).sql_limit() is None


def test_sql_of_a_stump() -> None:
    stages = head(STUMP).sql_stages(SPARK)
    assert stages[0]["score:0"] == (
        "NULLIF((CASE WHEN `b` IS NULL OR `b` <= 2.0e0 THEN (-1.0e0) ELSE 1.0e0 END + 10.0e0),"
        " CAST('NaN' AS DOUBLE))"
    )
    assert stages[1] == {"prediction": "`score:0`"}
