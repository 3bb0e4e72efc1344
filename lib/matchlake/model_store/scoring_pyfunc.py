"""The MLflow flavor of a scoring model: scores in one process by the ONNX graph, without Spark.

MLflow runs this file when it loads the model. No other module imports it.
"""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel

from matchlake.formulas.onnx import REFUSED
from matchlake.model_store.onnx_session import onnx_runner, with_nulls
from matchlake.model_store.score_columns import pandas_outputs
from matchlake.model_store.scoring_folder import GRAPH_FILE, SCORING, load_scoring_model


class ScoringPyfunc(PythonModel):  # type: ignore[misc]
    """Scores rows; returns one row per input row, in the same order."""

    def load_context(self, context: Any) -> None:
        """Reads the model that was logged, and its graph if onnxruntime is installed."""
        model = load_scoring_model(Path(context.artifacts[SCORING]))
        features = model.features.model_copy(update={"keys": ()})
        self._model = model.model_copy(update={"features": features})
        graph = Path(context.artifacts[SCORING]) / GRAPH_FILE
        can_run = graph.is_file() and find_spec("onnxruntime") is not None
        self._run = onnx_runner(graph.read_bytes()) if can_run else None

    def predict(
        self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """Returns the outputs of the model; it neither needs nor returns keys."""
        del context, params
        scored = self._scored(model_input)
        if scored is None:
            return self._model.transform_pandas(model_input)
        return pd.DataFrame(pandas_outputs(scored), index=model_input.index)

    def _scored(self, frame: pd.DataFrame) -> dict[str, Any] | None:
        """Returns the outputs of the graph, or None.

        None: there is no graph, or NumPy must find the refused or missing value.
        """
        if self._run is None or not set(self._model.columns()) <= set(frame.columns):
            return None
        columns = {name: frame[name] for name in self._model.columns()}
        found = self._run(self._model.onnx_inputs(columns))
        if REFUSED in found and found.pop(REFUSED).any():
            return None
        return with_nulls(found)


set_model(ScoringPyfunc())
