"""Forecasts as MLflow serves them: rows of the past in, a row per series and period out."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from matchlake.errors import SchemaError
from matchlake.learners.params import SarimaxParams
from matchlake.learners.sarimax import fit_series, read_series
from matchlake.model_store.forecast_model import FittedSeries, ForecastModel, save_forecast_model
from matchlake.model_store.scoring_folder import SCORING

PARAMS = SarimaxParams(order=(1, 0, 0), trend="c", horizon=2, exogenous=("value",))


@pytest.mark.soak
def test_each_series_has_its_forecast_or_a_reason(tmp_path: Path) -> None:
    from matchlake.model_store.forecast_pyfunc import ForecastPyfunc  # noqa: PLC0415 - seconds

    random = np.random.default_rng(0)
    days = pd.date_range("2024-01-01", periods=42, freq="D")
    past = pd.DataFrame({"day": days, "sold": random.normal(size=42), "value": range(42)})
    past.loc[40:, "sold"] = np.nan
    parameters = fit_series(read_series(past), PARAMS).parameters
    model = ForecastModel(
        name="sales",
        params=PARAMS,
        series=("shop",),
        time="day",
        value="sold",
        fitted=(FittedSeries(key=("a",), parameters=parameters),),
    )
    save_forecast_model(model, tmp_path / "model")
    served = ForecastPyfunc()
    served.load_context(SimpleNamespace(artifacts={SCORING: str(tmp_path / "model")}))
    rows = pd.concat([past.assign(shop="a"), past.assign(shop="b")])
    found = served.predict(None, rows).set_index("shop")
    assert found.loc["a", "day"].tolist() == days[40:].tolist()
    assert np.isfinite(found.loc["a", "prediction"]).all()
    assert found.loc["b", "reason"] == "the series is not in the model"
    with pytest.raises(SchemaError, match=r"Missing column\(s\) in the rows: value"):
        served.predict(None, rows.drop(columns="value"))
