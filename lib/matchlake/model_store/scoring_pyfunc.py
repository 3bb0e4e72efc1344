"""A scoring model as MLflow serves it: one process, without Spark.

MLflow runs this file when it loads the model. Nothing else imports it.
"""

from pathlib import Path
from typing import Any

import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel

from matchlake.model_store.scoring_folder import SCORING, load_scoring_model


class ScoringPyfunc(PythonModel):  # type: ignore[misc]
    """Scores rows: one output row per input row, in order."""

    def load_context(self, context: Any) -> None:
        """Reads the model that was logged."""
        model = load_scoring_model(Path(context.artifacts[SCORING]))
        features = model.features.model_copy(update={"keys": ()})
        self._model = model.model_copy(update={"features": features})

    def predict(
        self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """The outputs of the model; keys are not needed, and not returned."""
        del context, params
        return self._model.transform_pandas(model_input)


set_model(ScoringPyfunc())
