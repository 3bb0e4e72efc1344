"""An onnxruntime session with one thread, chosen outputs, and metadata."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime

from matchlake.errors import ModelError

Array = npt.NDArray[Any]


class Session:
    """A loaded graph. It is thread-safe, because a run changes nothing."""

    def __init__(self, graph: bytes, where: str) -> None:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        # Without the arena, freed memory returns to the system, so that a large request does not
        # leave a large process.
        options.enable_cpu_mem_arena = False
        try:
            self._session = onnxruntime.InferenceSession(
                graph, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # noqa: BLE001 - onnxruntime raises errors of several kinds
            reason = str(error).partition("\n")[0][:200]
            raise ModelError(f"onnxruntime cannot load {where}: {reason}") from None
        self.metadata: Mapping[str, str] = self._session.get_modelmeta().custom_metadata_map
        self.inputs = tuple(each.name for each in self._session.get_inputs())
        self.outputs = tuple(each.name for each in self._session.get_outputs())

    def run(self, outputs: Sequence[str], inputs: Mapping[str, Array]) -> list[Array]:
        """Returns the outputs in the order of `outputs`; raises ModelError if the graph fails."""
        try:
            found = self._session.run(list(outputs), inputs)
        except Exception as error:  # noqa: BLE001 - onnxruntime raises errors of several kinds
            reason = str(error).partition("\n")[0][:200]
            raise ModelError(f"onnxruntime cannot run the graph: {reason}") from None
        return [np.asarray(values) for values in found]
