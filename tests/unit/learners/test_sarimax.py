"""Series of statsmodels: the parameters and forecasts of its own, and reasons for the others."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from statsmodels.tsa.statespace.sarimax import SARIMAX

from matchlake.errors import ParameterError
from matchlake.learners.params import SarimaxParams
from matchlake.learners.sarimax import (
    Forecast,
    check_frequency,
    fit_series,
    forecast_series,
    read_series,
)

PARAMS = SarimaxParams(order=(1, 0, 1), trend="c", frequency="MS", horizon=6, exogenous=("price",))
NAMES = ["time", "value", "price"]


def rows(periods: int = 60, future: int = 6) -> pd.DataFrame:
    random = np.random.default_rng(0)
    price = random.normal(size=periods + future)
    noise = np.zeros(periods + future)
    for i in range(1, len(noise)):
        noise[i] = 0.6 * noise[i - 1] + random.normal()
    value = 10 + 3 * price + noise
    value[periods:] = np.nan
    times = pd.date_range("2020-01-01", periods=periods + future, freq="MS")
    return pd.DataFrame({"time": times, "value": value, "price": price})


def test_parameters_and_forecasts_are_those_of_statsmodels() -> None:
    made = rows()
    series = read_series(made.sample(frac=1, random_state=1))
    found = fit_series(series, PARAMS)
    known, future = made[:60], made[60:]
    model = SARIMAX(known["value"].to_numpy(), known[["price"]].to_numpy(), (1, 0, 1), trend="c")
    expected = model.fit(disp=0)
    assert found.reason is None
    assert found.parameters is not None
    np.testing.assert_array_equal(found.parameters, expected.params)
    forecast = forecast_series(series, PARAMS, found.parameters)
    assert isinstance(forecast, Forecast)
    theirs = expected.get_forecast(6, exog=future[["price"]].to_numpy())
    np.testing.assert_allclose(forecast.mean, theirs.predicted_mean, rtol=1e-10)
    np.testing.assert_allclose(forecast.low, theirs.conf_int()[:, 0], rtol=1e-10)
    assert forecast.times.tolist() == future["time"].tolist()
    assert abs(found.parameters[1] - 3) < 0.5, "the planted effect of the price"


def with_cell(row: int, column: str, value: Any) -> pd.DataFrame:
    made = rows()
    made.loc[row, column] = value
    return made


def with_another(**change: Any) -> pd.DataFrame:
    made = rows()
    return pd.concat([made, made[3:4].assign(**change)])


CHANGED = {
    "short": rows()[54:],
    "none": rows()[60:],
    "constant": rows().assign(value=[5.0] * 60 + [np.nan] * 6),
    "gap": rows().drop(index=[7, 9]),
    "null": with_cell(7, "value", np.nan),
    "twice": with_another(),
    "off": with_another(time=pd.Timestamp("2020-04-02")),
    "infinite": with_cell(7, "value", np.inf),
    "price": with_cell(7, "price", np.nan),
    "time": with_cell(65, "time", pd.NaT),
}


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("short", "6 known periods; this model needs"),
        ("none", "0 known periods; this model needs"),
        ("constant", "all 60 values are equal"),
        ("gap", "no row has the time 2020-08-01 00:00:00, and 1 more gaps"),
        ("null", "1 periods before the last known one have no value"),
        ("twice", "two rows have the time 2020-04-01"),
        ("off", "the time 2020-04-02 00:00:00 does not fit the frequency MS"),
        ("infinite", "values are infinite"),
        ("price", "an exogenous value is missing or infinite"),
        ("time", "a row has no time"),
    ],
)
def test_a_series_that_cannot_be_fitted_has_a_reason(name: str, reason: str) -> None:
    series = read_series(CHANGED[name])
    found = fit_series(series, PARAMS)
    assert found.parameters is None
    assert str(found.reason).startswith(reason)
    assert str(forecast_series(series, PARAMS, (0.0,) * 5)).startswith(reason)


@pytest.mark.parametrize(
    ("future", "reason"),
    [
        (3, "exogenous values of 3 future periods, not of 6"),
        (6, "a future exogenous value is missing or infinite"),
    ],
)
def test_a_forecast_needs_the_future_of_its_exogenous_columns(future: int, reason: str) -> None:
    made = rows(future=future)
    if future == 6:
        made.loc[64, "price"] = np.nan
    found = forecast_series(read_series(made), PARAMS, (10.0, 3.0, 0.6, 0.1, 1.0))
    assert isinstance(found, str)
    assert reason in found


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ({"seasonal_order": (1, 0, 0)}, "seasonal_order and season go together"),
        ({"season": 12}, "seasonal_order and season go together"),
        ({"order": (0, 0, 0)}, "the model has no terms"),
        ({"order": (-1, 0, 0)}, "must be 0 or more"),
    ],
)
def test_orders_that_make_no_model_are_refused(chosen: dict[str, Any], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        SarimaxParams(**chosen)


def test_an_unknown_frequency_is_refused() -> None:
    with pytest.raises(ParameterError, match="frequency is 'monthly', which is not a frequency"):
        check_frequency(SarimaxParams(frequency="monthly"))
