"""Networks of other frameworks, as ONNX graphs that compute scores from features."""

import base64
import binascii
from collections.abc import Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from matchlake.formulas.heads.external import ExternalHead
from matchlake.formulas.heads.folder import Folder
from matchlake.formulas.heads.head import Matrix

if TYPE_CHECKING:
    from matchlake.formulas.onnx import Graph

LARGEST = 100_000_000
"""The maximum number of characters of a graph in base64."""


class GraphHead(ExternalHead):
    """A graph with one input (rows, columns) and one output (rows, scores), in 32 or 64 bits.

    A row with a missing feature has no prediction. onnxruntime runs the graph. There is no SQL.
    """

    kind: Literal["graph"] = "graph"
    graph: str = Field(max_length=LARGEST, repr=False)
    """The ONNX model in base64. Its opset is at most 21, and it has no external data."""
    source: Folder | None = None
    """The files of the framework's own model. They are for exports only, not for scoring."""

    @model_validator(mode="after")
    def _check_graph(self) -> Self:
        model = _parsed(self.graph)
        if len(model.graph.input) != 1 or len(model.graph.output) != 1:
            raise ValueError("the graph must have one input and one output")
        return self

    def size(self) -> int:
        """The bytes of the ONNX model."""
        return len(self.graph) * 3 // 4

    def packages(self) -> tuple[str, ...]:
        """The packages onnx, which reads the graph, and onnxruntime, which runs it."""
        return ("onnx", "onnxruntime")

    def sql_limit(self) -> str | None:
        """Returns the reason: a network has no SQL."""
        return "it is a network"

    def known_scores(self, matrix: Matrix) -> Matrix:
        """The scores (rows, scores) that onnxruntime gives."""
        session, name, kind = _session(self.graph)
        return np.asarray(session.run(None, {name: matrix.astype(kind)})[0])

    def onnx_scores(self, graph: "Graph", matrix: str) -> str:
        """The scores (rows, scores) by the operators of this graph, inside the larger one."""
        model = _parsed(self.graph)
        element = model.graph.input[0].type.tensor_type.elem_type
        missing = graph.any_missing(matrix)
        known = graph.add("Where", graph.add("IsNaN", matrix), graph.double(0.0), matrix)
        given = graph.add("Cast", known, to=element)
        found = graph.cast(graph.inline(model, given), "DOUBLE")
        shape = graph.integers([-1, self.expected_scores])
        rows = graph.add("Reshape", found, shape)
        return graph.add("Where", missing, graph.double(float("nan")), rows)


def _parsed(text: str) -> Any:
    """Returns the ONNX model; raises ValueError for an invalid one, and for external data."""
    import onnx  # noqa: PLC0415 - the extra `models`

    try:
        model = onnx.load_model_from_string(base64.b64decode(text, validate=True))
        onnx.checker.check_model(model)
    except binascii.Error:
        raise ValueError("the graph is not in base64") from None
    except Exception as error:  # noqa: BLE001 - protobuf and the checker raise several kinds
        reason = str(error).strip().partition("\n")[0]
        raise ValueError(f"the graph is not an ONNX model: {reason}") from None
    if any(each.data_location == onnx.TensorProto.EXTERNAL for each in _tensors(model.graph)):
        raise ValueError("the graph keeps numbers in other files; save it as one file")
    return model


def _tensors(graph: Any) -> Iterator[Any]:
    """Yields the constants of a graph, including those of its subgraphs."""
    yield from graph.initializer
    for attribute in (each for node in graph.node for each in node.attribute):
        yield from [attribute.t] * attribute.HasField("t")
        for inner in [attribute.g] * attribute.HasField("g"):
            yield from _tensors(inner)


@lru_cache(maxsize=8)
def _session(text: str) -> tuple[Any, str, str]:
    """A session of the graph, the name of its input, and the type of its numbers."""
    import onnxruntime  # noqa: PLC0415 - the extra `models`

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        base64.b64decode(text), options, providers=["CPUExecutionProvider"]
    )
    (given,) = session.get_inputs()
    return session, given.name, "float64" if given.type == "tensor(double)" else "float32"
