"""Importance of exogenous columns: the history that it reads, and the artifacts of a training."""

import json
import runpy
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pyspark.sql import SparkSession
from tests.support.lakes import forget_tables, lake_runtime
from tests.support.sources import ROOT

from matchlake.lakehouse.registered_models import registered_model
from matchlake.learners.params import SarimaxParams
from matchlake.model_store.forecast_model import ForecastModel
from matchlake.schemas import Column, TableSpec
from matchlake.training.forecast_importance import read_history

TRAIN = runpy.run_path(str(ROOT / "jobs" / "train_model.py"))["run"]
TRAINER = {
    "kind": "sarimax",
    "order": [1, 0, 0],
    "trend": "c",
    "frequency": "D",
    "horizon": 12,
    "exogenous": ["unit_price", "noise"],
}


def sales(days: int, shops: int) -> pd.DataFrame:
    """Sales that depend on the price, and not on the noise."""
    random, parts = np.random.default_rng(3), []
    for shop in range(shops):
        made = pd.DataFrame(random.normal(size=(days, 2)), columns=TRAINER["exogenous"])
        made.insert(0, "day", pd.date_range("2024-01-01", periods=days, freq="D"))
        made.insert(0, "shop", shop)
        parts.append(made.assign(sold=9 - 3 * made["unit_price"] + random.normal(size=days)))
    return pd.concat(parts, ignore_index=True)


def test_history_is_that_of_the_given_series_by_time(spark: SparkSession) -> None:
    made = sales(4, 3)
    frame = spark.createDataFrame(made.sample(frac=1, random_state=1))
    params = SarimaxParams.model_validate(TRAINER)
    names = {"series": ("shop",), "time": "day", "value": "sold", "fitted": ()}
    model = ForecastModel.model_validate({"name": "m", "params": params, **names})
    key = "matchlake key 0"
    found = read_history(frame, model, pd.DataFrame({key: ["2", "0", "2"]}))
    expected = made[made["shop"] != 1]
    assert list(found.columns) == [key, "time", "value 0", "value 1"]
    assert found[key].tolist() == ["0"] * 4 + ["2"] * 4
    assert found["time"].dt.day.tolist() == expected["day"].dt.day.tolist()
    assert found["value 0"].tolist() == expected["unit_price"].tolist()
    assert found["value 1"].tolist() == expected["noise"].tolist()


@pytest.mark.soak
def test_a_training_logs_the_importance(spark: SparkSession, tmp_path: Path) -> None:
    import mlflow  # noqa: PLC0415 - takes seconds

    model = {
        "rows": "silver.priced",
        "label": "sold",
        "task": "forecasting",
        "trainer": TRAINER,
        "keys": ["shop", "day"],
        "table": "gold.priced",
        "comment": "Forecasts of sales.",
        "split": {"kind": "time", "column": "day", "test_fraction": 0.2},
    }
    forget_tables(spark)
    runtime = lake_runtime(spark, tmp_path, f"models={json.dumps({'priced': model})}")
    frame = spark.createDataFrame(sales(60, 3))
    columns = tuple(Column(f.name, f.dataType.simpleString(), f.name) for f in frame.schema)
    spec = TableSpec("silver.priced", "Sales.", columns, user_columns=())
    runtime.lakehouse.replace(frame, spec)
    TRAIN(runtime)
    version = registered_model(runtime.config, runtime.tracker, "priced").tracker.versions()[-1]
    run = f"runs:/{version.run_id}"
    found = json.loads(mlflow.artifacts.load_text(f"{run}/importance.json"))
    rows = dict(zip([row[0] for row in found["data"]], found["data"], strict=True))
    assert list(rows) == ["unit_price", "noise"]
    assert rows["unit_price"][1] > 1
    assert abs(rows["noise"][1]) < 0.3
    assert mlflow.artifacts.load_image(f"{run}/importance.png").width > 0
    forget_tables(spark)
