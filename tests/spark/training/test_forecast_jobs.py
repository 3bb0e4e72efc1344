"""The jobs train_model and score_model for forecasts: many series, and reasons for the others."""

import json
import runpy
from collections.abc import Iterator
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
from pyspark.sql import SparkSession
from tests.support.lakes import forget_tables, lake_runtime
from tests.support.sources import ROOT

from matchlake.lakehouse.registered_models import registered_model
from matchlake.learners.params import SarimaxParams
from matchlake.learners.sarimax import Forecast, fit_series, forecast_series, read_series
from matchlake.runtime import Runtime
from matchlake.schemas import Column, TableSpec

TRAIN = runpy.run_path(str(ROOT / "jobs" / "train_model.py"))["run"]
SCORE = runpy.run_path(str(ROOT / "jobs" / "score_model.py"))["run"]
DAYS, HORIZON = 60, 5
TRAINER = {"kind": "sarimax", "order": [1, 0, 0], "trend": "c", "frequency": "D", "horizon": 12}
MODEL: dict[str, Any] = {
    "rows": "silver.sales",
    "label": "sold",
    "task": "forecasting",
    "keys": ["shop", "day"],
    "split": {"kind": "time", "column": "day", "test_fraction": 0.2},
    "trainer": TRAINER,
    "metric": "smape",
    "table": "gold.sales_forecasts",
    "comment": "Forecasts of sales.",
}


def sales() -> pd.DataFrame:
    """Four shops that swing about their level; shop 5 sells the same each day; 6 is new."""
    random = np.random.default_rng(0)
    days = pd.date_range("2024-01-01", periods=DAYS, freq="D")
    parts = []
    for shop in range(1, 7):
        noise = np.zeros(DAYS)
        for i in range(1, DAYS):
            noise[i] = -0.8 * noise[i - 1] + random.normal()
        parts.append(pd.DataFrame({"shop": shop, "day": days, "sold": 10.0 * shop + noise}))
    parts[4]["sold"] = 3.0
    parts[5] = parts[5][-3:]
    return pd.concat(parts, ignore_index=True)


@pytest.fixture(scope="module")
def at(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runtime]:
    forget_tables(spark)
    folder = tmp_path_factory.mktemp("forecasts")
    runtime = lake_runtime(spark, folder, f"models={json.dumps({'sales': MODEL})}")
    frame = spark.createDataFrame(sales())
    columns = tuple(Column(f.name, f.dataType.simpleString(), f.name) for f in frame.schema)
    runtime.lakehouse.replace(frame, TableSpec("silver.sales", "Sales.", columns, user_columns=()))
    TRAIN(runtime)
    SCORE(runtime)
    yield runtime
    forget_tables(spark)


@pytest.mark.soak
def test_forecasts_start_after_the_newest_row_by_the_parameters_of_the_training_part(
    at: Runtime,
) -> None:
    rows = at.lakehouse.read("gold.sales_forecasts").toPandas()
    made = sales()
    one = made.loc[made["shop"] == 1, ["day", "sold"]]
    params = SarimaxParams.model_validate(TRAINER)
    last = sorted(made["day"])[int(0.8 * len(made)) - 1]
    fitted = fit_series(read_series(one[one["day"] <= last]), params)
    assert fitted.parameters is not None
    expected = forecast_series(read_series(one), params, fitted.parameters)
    assert isinstance(expected, Forecast)
    found = rows[rows["shop"] == 1].sort_values("day")
    np.testing.assert_allclose(found["prediction"], expected.mean, rtol=1e-6)
    assert str(found["day"].iloc[0])[:10] == "2024-03-01"
    assert len(found) == 12
    reasons = rows[rows["prediction"].isna()].set_index("shop")["refusal"].to_dict()
    assert set(reasons) == {5, 6}
    assert reasons[5].endswith("values are equal")
    assert reasons[6].startswith("0 known periods; this model needs 6 or more")
    assert rows["model_version"].unique().tolist() == ["1"]


@pytest.mark.soak
def test_the_run_has_figures_beside_the_last_value_and_a_card(at: Runtime) -> None:
    tracker = registered_model(at.config, at.tracker, "sales").tracker
    version = tracker.require_champion()
    figures = tracker.metrics(version)
    assert 0 < figures["smape"] < figures["constant/smape"]
    card = mlflow.artifacts.load_text(f"runs:/{version.run_id}/model_card.md")
    assert "| series with a model | 4 of 6 |" in card
    loaded = mlflow.pyfunc.load_model(version.uri)
    given = sales().query("shop == 1").astype({"shop": "string"})
    served = loaded.predict(given.reset_index(drop=True))
    rows = at.lakehouse.read("gold.sales_forecasts").where("shop = 1").toPandas()
    np.testing.assert_allclose(
        served.sort_values("day")["prediction"], rows.sort_values("day")["prediction"], rtol=1e-12
    )


@pytest.mark.soak
def test_a_second_training_is_compared_with_the_champion(at: Runtime) -> None:
    TRAIN(at)
    tracker = registered_model(at.config, at.tracker, "sales").tracker
    assert tracker.require_champion().version == "1"
    newest = tracker.versions()[-1]
    assert newest.aliases == ("challenger",)
    assert "not better: smape" in newest.tags["decision"]
