"""The MLflow flavor of a forecast model: reads past rows, returns the next values.

MLflow runs this file when it loads the model. No other module imports it.
"""

from pathlib import Path
from typing import Any

import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel

from matchlake.errors import SchemaError
from matchlake.learners.sarimax import forecast_series, read_series
from matchlake.model_store.forecast_model import OUTPUTS, ForecastModel, load_forecast_model
from matchlake.model_store.scoring_folder import SCORING


class ForecastPyfunc(PythonModel):  # type: ignore[misc]
    """Forecasts the series of the rows; a series without a forecast has one row with its reason."""

    def load_context(self, context: Any) -> None:
        """Reads the model that was logged."""
        self._model = load_forecast_model(Path(context.artifacts[SCORING]))

    def predict(
        self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """Returns a row per series and future period: its columns, the time, OUTPUTS, `reason`.

        `model_input` has the past of each series, in the columns of the training. Raises
        SchemaError if a column is missing.
        """
        del context, params
        model = self._model
        needed = model.needed_columns
        missing = [name for name in needed if name not in model_input]
        if missing:
            raise SchemaError.missing("the rows", missing, map(str, model_input))
        groups: Any = [((), model_input)]
        if model.series:
            groups = model_input.groupby(list(model.series), dropna=False)
        read = list(needed[len(model.series) :])
        parts = [_forecast(model, key, rows[read]) for key, rows in groups]
        return pd.concat(parts, ignore_index=True)


def _forecast(model: ForecastModel, key: tuple[Any, ...], rows: pd.DataFrame) -> pd.DataFrame:
    texts = tuple(None if pd.isna(each) else str(each) for each in key)
    known = model.parameters.get(texts)
    found = model.reasons.get(texts, "the series is not in the model")
    forecast = None
    if known is not None:
        made = forecast_series(read_series(rows), model.params, known)
        found, forecast = (made, None) if isinstance(made, str) else ("", made)
    named = dict(zip(model.series, texts, strict=True))
    if forecast is None:
        nothing = dict.fromkeys(OUTPUTS, float("nan"))
        return pd.DataFrame([named | {model.time: pd.NaT} | nothing | {"reason": found}])
    values = zip(OUTPUTS, (forecast.mean, forecast.low, forecast.high), strict=True)
    columns: dict[str, Any] = named | {model.time: forecast.times} | dict(values)
    return pd.DataFrame(columns | {"reason": None})


set_model(ForecastPyfunc())
