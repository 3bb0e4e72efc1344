"""A network of another framework as a head: the same scores alone and inside a model's graph."""

import base64
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from pydantic import ValidationError

from matchlake.formulas.heads import GraphHead
from matchlake.formulas.onnx import Graph
from matchlake.model_store.onnx_session import score_onnx

WEIGHTS = np.random.default_rng(0).normal(size=(3, 2)).astype(np.float32)


def network(opset: int = 17, element: int = TensorProto.FLOAT) -> onnx.ModelProto:
    """`relu(x W)` of three columns, with two scores."""
    weights = WEIGHTS if element == TensorProto.FLOAT else WEIGHTS.astype(np.float64)
    nodes = [
        helper.make_node("MatMul", ["x", "W"], ["m"]),
        helper.make_node("Relu", ["m"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", element, ["rows", 3])],
        [helper.make_tensor_value_info("y", element, ["rows", 2])],
        [numpy_helper.from_array(weights, "W")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def head(model: onnx.ModelProto | None = None, **chosen: Any) -> GraphHead:
    text = base64.b64encode((model or network()).SerializeToString()).decode()
    given = {"columns": ("a", "b", "c"), "labels": ("x", "y"), "link": "softmax", "graph": text}
    return GraphHead.model_validate(given | chosen)


@pytest.mark.parametrize("element", [TensorProto.FLOAT, TensorProto.DOUBLE])
def test_scores_alone_equal_scores_inside_a_graph(element: int) -> None:
    made = head(network(element=element))
    rows = np.random.default_rng(1).normal(size=(50, 3))
    rows[7, 1] = np.nan
    rows[9, 1] = np.inf  # both scores are infinite
    found = made.numpy(rows)
    assert found["prediction"][7] is None
    assert found["prediction"][8] in ("x", "y")
    graph = Graph()
    columns = [graph.column(graph.number_input(name)) for name in "abc"]
    tensors = made.onnx(graph, graph.add("Concat", *columns, axis=1))
    graph.output("probabilities", tensors["probabilities"], "DOUBLE", ["rows", 2])
    inside = score_onnx(graph.to_bytes("t", {}), dict(zip("abc", rows.T.copy(), strict=True)))
    np.testing.assert_allclose(inside["probabilities"], found["probabilities"], rtol=1e-12)
    known = np.isfinite(rows).all(axis=1)
    scores = np.maximum(rows[known] @ WEIGHTS.astype(np.float64), 0)
    odds = 1 / (1 + np.exp(scores[:, 1] - scores[:, 0]))
    np.testing.assert_allclose(found["probabilities"][known, 0], odds, rtol=1e-5)


def _external(location: str = "../secret") -> onnx.ModelProto:
    model = network()
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    return model


def _external_in_a_branch() -> onnx.ModelProto:
    """The constant of a branch lies in another file."""
    tensor = _external("weights").graph.initializer[0]
    scores = helper.make_tensor_value_info("b", TensorProto.FLOAT, ["rows", 2])
    branch = helper.make_graph(
        [
            helper.make_node("Constant", [], ["c"], value=tensor),
            helper.make_node("MatMul", ["x", "c"], ["b"]),
        ],
        "branch",
        [],
        [scores],
    )
    yes = numpy_helper.from_array(np.ones((), bool), "yes")
    graph = helper.make_graph(
        [helper.make_node("If", ["yes"], ["y"], then_branch=branch, else_branch=branch)],
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["rows", 2])],
        [yes],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def _two_outputs() -> onnx.ModelProto:
    model = network()
    model.graph.output.append(helper.make_tensor_value_info("m", TensorProto.FLOAT, ["rows", 2]))
    return model


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"graph": "no base64!"}, "not in base64"),
        ({"graph": base64.b64encode(b"nonsense").decode()}, "not an ONNX model"),
        ({"link": "exp"}, "does not fit 2 labels"),
        ({"labels": None}, "does not fit 0 labels"),
        ({"model": _external()}, "not an ONNX model|other files"),
        ({"model": _two_outputs()}, "one input and one output"),
    ],
)
def test_other_graphs_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        head(change.pop("model", None), **change)


@pytest.mark.parametrize("model", [_external("weights"), _external_in_a_branch()])
def test_numbers_in_another_file_are_refused_if_it_exists(
    model: onnx.ModelProto, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "weights").write_bytes(WEIGHTS.tobytes())
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValidationError, match="keeps numbers in other files"):
        head(model)


def test_a_graph_with_other_scores_is_refused() -> None:
    with pytest.raises(ValueError, match="gives 2 scores instead of 3"):
        head(labels=("x", "y", "z")).numpy(np.zeros((1, 3)))
