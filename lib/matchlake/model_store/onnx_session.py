"""Scores rows with an ONNX graph by onnxruntime, in this process."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt

from matchlake.errors import ModelError
from matchlake.formulas.onnx import NULL_TEXT

Array = npt.NDArray[Any]


def score_onnx(graph: bytes, inputs: Mapping[str, Array]) -> dict[str, Array]:
    """Returns the outputs of a graph by name; raises ModelError for a graph that does not run."""
    return onnx_runner(graph)(inputs)


def onnx_runner(graph: bytes) -> Callable[[Mapping[str, Array]], dict[str, Array]]:
    """Returns a function that computes the outputs of a graph by name, for many calls.

    Both functions raise ModelError for a graph that does not run.
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


def with_nulls(scored: Mapping[str, Any]) -> dict[str, Any]:
    """Replaces the label of a row without a prediction by None, as in the model's own outputs."""
    return {
        name: np.where(values == NULL_TEXT, None, values) if values.dtype.kind in "OU" else values
        for name, values in scored.items()
    }


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
