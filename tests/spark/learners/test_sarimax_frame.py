"""Series of a table, fitted and forecast in parallel; those without a model are rows with why."""

import numpy as np
import pandas as pd
import pytest
from pyspark.sql import SparkSession

from matchlake.learners.params import SarimaxParams
from matchlake.learners.sarimax import Forecast, fit_series, forecast_series, read_series
from matchlake.learners.sarimax_frame import SeriesColumns, fit_sarimax, forecast_sarimax

PARAMS = SarimaxParams(order=(1, 0, 0), trend="c", frequency="D", horizon=3)
COLUMNS = SeriesColumns(("shop", "item no"), "day", "sold")


@pytest.mark.soak
def test_series_are_those_of_one_process_and_others_have_reasons(spark: SparkSession) -> None:
    random = np.random.default_rng(0)
    days = pd.date_range("2024-01-01", periods=40, freq="D")
    parts = [
        pd.DataFrame({"shop": shop, "item no": item, "day": days, "sold": random.normal(size=40)})
        for shop in ("a", "b")
        for item in (1, 2)
    ]
    parts[1]["sold"] = 7.0
    parts[2] = parts[2].drop(index=[5])
    table = pd.concat(parts, ignore_index=True).sample(frac=1, random_state=2)
    frame = spark.createDataFrame(table)
    fitted = fit_sarimax(frame, COLUMNS, PARAMS).toPandas().set_index(["shop", "item no"])
    assert fitted["reason"].to_dict() == {
        ("a", "1"): None,
        ("a", "2"): "all 40 values are equal",
        ("b", "1"): "no row has the time 2024-01-06 00:00:00",
        ("b", "2"): None,
    }
    known = {
        key: tuple(each) for key, each in fitted["parameters"].to_dict().items() if each is not None
    }
    assert set(known) == {("a", "1"), ("b", "2")}
    del known["b", "2"]
    rows = forecast_sarimax(frame, COLUMNS, PARAMS, known, {("a", "2"): "equal"}).toPandas()
    alone = read_series(parts[0][["day", "sold"]])
    expected = fit_series(alone, PARAMS)
    assert expected.parameters == known["a", "1"]
    forecast = forecast_series(alone, PARAMS, known["a", "1"])
    assert isinstance(forecast, Forecast)
    found = rows[(rows["shop"] == "a") & (rows["item no"] == "1")].sort_values("day")
    assert found["prediction"].tolist() == forecast.mean.tolist()
    assert found["high"].tolist() == forecast.high.tolist()
    assert [str(each)[:10] for each in found["day"]] == ["2024-02-10", "2024-02-11", "2024-02-12"]
    assert found["reason"].isna().all()
    others = rows[rows["prediction"].isna()]
    assert len(others) == 3
    assert set(others["reason"]) == {"the series is not in the model", "equal"}


@pytest.mark.soak
def test_exogenous_columns_may_have_any_name(spark: SparkSession) -> None:
    random = np.random.default_rng(1)
    table = pd.DataFrame(
        {
            "day": pd.date_range("2024-01-01", periods=40, freq="D"),
            "sold": random.normal(size=40),
            "value": random.normal(size=40),
            "time": random.normal(size=40),
        }
    )
    names = {"exogenous": ("value", "time")}
    params = PARAMS.model_copy(update=names)
    fitted = fit_sarimax(spark.createDataFrame(table), SeriesColumns((), "day", "sold"), params)
    (row,) = fitted.collect()
    expected = fit_series(read_series(table), params)
    assert (row["reason"], tuple(row["parameters"])) == (None, expected.parameters)
