"""Generated models score hostile rows alike in NumPy, pandas, ONNX, and read back from JSON."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from tests.support.fitted_features import fitted_categories, fitted_number, model_of
from tests.support.scoring_cases import (
    as_columns,
    hostile_rows,
    random_features,
    random_model,
    score_tolerance,
)

from matchlake.errors import InputError
from matchlake.features.categories import MultiHot, OneHot
from matchlake.features.onnx_inputs import onnx_inputs
from matchlake.features.scalers import MinMax, Number
from matchlake.formulas.numpy import ARRAYS, bind
from matchlake.formulas.onnx import NULL_TEXT, PADDING, Graph, onnx_text
from matchlake.formulas.tree import Column, Constant, is_missing, when
from matchlake.model_store.onnx_session import score_onnx
from matchlake.model_store.scoring_model import ScoringModel

KINDS = ("linear", "trees", "centroids")


@pytest.fixture(scope="module")
def columns() -> dict[str, np.ndarray]:
    return as_columns(hostile_rows(1000))


def in_onnx(model: ScoringModel, columns: dict[str, np.ndarray]) -> dict[str, Any]:
    found = score_onnx(model.to_onnx(), model.onnx_inputs(columns))
    if found["prediction"].dtype == object:
        labels = [None if each == NULL_TEXT else each for each in found["prediction"]]
        found["prediction"] = np.array(labels, dtype=object)
    return found


def assert_features_equal(columns: dict[str, np.ndarray], seed: int) -> None:
    """Bit for bit, but close where exp, log or tanh enter."""
    model, exact = random_features(columns, np.random.default_rng(seed), 6)
    graph = Graph()
    blocks = [fitted.onnx(graph) for fitted in model.features]
    graph.output("matrix", graph.add("Concat", *blocks, axis=1), "DOUBLE", ["rows", "columns"])
    found = score_onnx(graph.to_bytes("features", {}), onnx_inputs(model.features, columns))
    expected = model.transform_numpy(columns)
    np.testing.assert_array_equal(found["matrix"][:, exact], expected[:, exact])
    np.testing.assert_allclose(found["matrix"], expected, rtol=4e-15, atol=4e-15)


def assert_scores_equal(kind: str, columns: dict[str, np.ndarray], seed: int) -> None:
    model, _ = random_model(kind, columns, np.random.default_rng(seed))
    expected = model.score_numpy(columns)
    assert_same(model.from_json(model.to_json()).score_numpy(columns), expected)
    tolerance = score_tolerance(model, model.features.transform_numpy(columns))
    assert_close(in_onnx(model, columns), expected, tolerance)


def assert_same(found: dict[str, Any], expected: dict[str, Any]) -> None:
    assert list(found) == list(expected)
    for name, values in expected.items():
        np.testing.assert_array_equal(found[name], values)


def assert_close(found: dict[str, Any], expected: dict[str, Any], tolerance: np.ndarray) -> None:
    """Numbers within the tolerance of their row, and labels equal unless two scores are close."""
    assert set(found) == set(expected)
    for name, values in expected.items():
        if values.dtype == np.float64:
            limit = tolerance if values.ndim == 1 else tolerance[:, None]
            known = np.isfinite(values)
            np.testing.assert_array_equal(found[name][~known], values[~known])
            with np.errstate(all="ignore"):
                largest = limit * np.maximum(1.0, np.abs(np.where(known, values, 0.0)))
                apart = np.abs(found[name] - values)
            assert (apart[known] <= largest[known]).all()
        else:
            other = found[name] != values
            assert not (other & ~_ties(expected)).any()


def _ties(expected: dict[str, Any]) -> np.ndarray:
    name = "probabilities" if "probabilities" in expected else "distances"
    ordered = np.sort(expected[name], axis=1)
    if ordered.shape[1] == 1:
        return np.zeros(len(ordered), dtype=bool)
    ends = ordered[:, -2:] if name == "probabilities" else ordered[:, :2]
    with np.errstate(invalid="ignore"):
        return np.asarray(np.abs(ends[:, 1] - ends[:, 0]) <= 1e-12)


@pytest.mark.parametrize("seed", range(4))
def test_features_in_onnx_equal_numpy(columns: dict[str, np.ndarray], seed: int) -> None:
    assert_features_equal(columns, seed)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(4))
def test_scores_in_onnx_and_from_json_equal_numpy(
    columns: dict[str, np.ndarray], kind: str, seed: int
) -> None:
    assert_scores_equal(kind, columns, seed)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(1000, 1200))
def test_many_scores_in_onnx_equal_numpy(columns: dict[str, np.ndarray], seed: int) -> None:
    assert_features_equal(columns, seed)
    for kind in KINDS:
        assert_scores_equal(kind, columns, seed)


@pytest.mark.parametrize("kind", KINDS)
def test_transform_pandas_has_keys_index_and_nulls(
    columns: dict[str, np.ndarray], kind: str
) -> None:
    nulls = 0
    for seed in range(8):
        model, _ = random_model(kind, columns, np.random.default_rng(seed))
        frame = pd.DataFrame(columns).set_axis(range(7, 1007))
        found = model.transform_pandas(frame)
        scored = model.score_numpy(columns)
        assert list(found.columns) == ["id", *scored]
        assert list(found.index) == list(frame.index)
        assert list(found["id"]) == list(columns["id"])
        missing = found["prediction"].isna().to_numpy()
        expected = scored["prediction"] == -1 if kind == "centroids" else scored["prediction"]
        np.testing.assert_array_equal(
            missing, expected if kind == "centroids" else pd.isna(expected)
        )
        for name in scored.keys() - {"prediction"}:
            assert found[name].isna().to_numpy().tolist() == missing.tolist()
        nulls += int(missing.sum())
    assert nulls


@pytest.mark.parametrize("small", [5e-324, 1e-310, 1e-300, 1e-50, 1e-30, 1e-12, 1e-9, 1e-7])
def test_constants_that_round_to_0_or_1_in_32_bits_still_count(small: float) -> None:
    """onnxruntime alone would leave out the operation."""
    values = np.array([1e-310, 1e-17, 1e-9, 3.0, -2.0, np.nan])
    x = Column("x", floating=True)
    given = when(is_missing(x), 0.25, x)
    near = 1.0 + small
    for formula in (
        (given - small) * 3.0,
        (given + small) * 3.0,
        (Constant(small) + given) * 3.0,
        (given * near) * 3.0,
        (Constant(near) * given) * 3.0,
        (given / near) * 3.0,
        (Constant(near) / given) * 3.0,
    ):
        graph = Graph()
        graph.output("y", graph.render(formula, {}), "DOUBLE", ["rows"])
        found = score_onnx(graph.to_bytes("t", {}), {"x": values})["y"]
        with np.errstate(over="ignore"):
            np.testing.assert_array_equal(found, bind(formula, ARRAYS)({"x": values}))


def test_a_text_of_a_graph_stays_different_from_null() -> None:
    texts = [None, "", "\0", "\1", "\2", "\3", "\0\0", "\1\0", "\x031", "0", "a", "a\0", "a0"]
    made = {onnx_text(text) for text in texts}
    assert len(made) == len(texts)
    assert not any("\0" in text for text in made)
    assert PADDING not in made


def test_refused_rows_are_marked_in_onnx() -> None:
    """A row is marked exactly where NumPy raises for it alone."""
    features = model_of(
        fitted_number(MinMax(out_of_range="error", handle_null=0.5)).model_copy(
            update={"name": "a"}
        ),
        fitted_number(Number(handle_null="error")).model_copy(update={"name": "g", "column": "y"}),
        fitted_categories(OneHot, "string", handle_unknown="error").model_copy(
            update={"column": "c"}
        ),
        fitted_categories(MultiHot, "array<string>", handle_null="error", handle_unknown="error")
        .model_copy(update={"column": "l", "name": "h"}),
    )  # fmt: skip
    graph = Graph()
    for fitted in features.features:
        fitted.onnx(graph)
    graph.refused_output()
    rows = {
        "x": [1.0, 99.0, None, float("nan"), 2.0, 2.0, 2.0, 2.0, 2.0],
        "y": [1.0, 1.0, 1.0, 1.0, None, 1.0, 1.0, 1.0, 1.0],
        "c": ["1", "2", None, "true", "1", "new", "1", "1", "1"],
        "l": [["1"], [], ["2", None], ["1"], ["1"], ["1"], None, ["1", "new"], ["true", "1"]],
    }
    found = score_onnx(graph.to_bytes("t", {}), onnx_inputs(features.features, rows))["refused"]
    for row in range(9):
        single = {name: values[row : row + 1] for name, values in rows.items()}
        if found[row]:
            with pytest.raises(InputError):
                features.transform_numpy(_arrays(single))
        else:
            features.transform_numpy(_arrays(single))
    assert found.tolist() == [False, True, False, False, True, True, True, True, False]


def _arrays(rows: dict[str, list[Any]]) -> dict[str, np.ndarray]:
    made = {}
    for name, values in rows.items():
        made[name] = np.empty(len(values), dtype=object)
        made[name][:] = values
    return made
