"""Scores rows by an ONNX graph in onnxruntime, in this process."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

import numpy as np
import numpy.typing as npt

from matchlake.errors import ModelError
from matchlake.formulas.heads import Head, TreesHead
from matchlake.formulas.heads.head import Matrix
from matchlake.formulas.onnx import Graph

Array = npt.NDArray[Any]

_MATRIX, _SCORES = "matrix", "scores"


def scores_graph(head: Head) -> bytes | None:
    """A graph from the matrix of features to the scores of trees; None if nothing is gained.

    onnxruntime walks trees some five times as fast as NumPy does.
    """
    if not isinstance(head, TreesHead) or find_spec("onnx") is None:
        return None
    graph = Graph()
    made = head.onnx_scores(graph, graph.matrix_input(_MATRIX, len(head.columns)))
    graph.output(_SCORES, made, "DOUBLE", ["rows", len(head.base)])
    return graph.to_bytes("scores", {})


def scorer(head: Head, graph: bytes | None) -> Callable[[Matrix], dict[str, Array]]:
    """The outputs of a matrix: by onnxruntime where it is installed, else by NumPy."""
    if graph is None or find_spec("onnxruntime") is None:
        return head.numpy
    session = _session(graph)

    def score(matrix: Matrix) -> dict[str, Array]:
        return head.outputs_of(session.run([_SCORES], {_MATRIX: matrix})[0])

    return score


def score_onnx(graph: bytes, inputs: Mapping[str, Array]) -> dict[str, Array]:
    """The outputs of a graph by name; raises ModelError for a graph that does not run."""
    return onnx_runner(graph)(inputs)


def onnx_runner(graph: bytes) -> Callable[[Mapping[str, Array]], dict[str, Array]]:
    """The function from inputs to outputs of a graph, by name, for many calls.

    It, and this function, raise ModelError for a graph that does not run.
    """
    with _explained():
        session = _session(graph)
        names = [each.name for each in session.get_outputs()]
        wanted = [each.name for each in session.get_inputs()]

    def run(inputs: Mapping[str, Array]) -> dict[str, Array]:
        with _explained():
            found = session.run(names, {name: inputs[name] for name in wanted})
        return {name: np.asarray(values) for name, values in zip(names, found, strict=True)}

    return run


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except Exception as error:  # noqa: BLE001 - onnxruntime raises errors of several kinds
        reason = str(error).partition("\n")[0]
        raise ModelError(f"onnxruntime cannot score this ONNX model: {reason}") from None


def _session(graph: bytes) -> Any:
    import onnxruntime  # noqa: PLC0415 - the extra `models`

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
