"""Importance of exogenous columns: forecasts of statsmodels, whole seasons, planted effects."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from matchlake.errors import InputError, ParameterError, SchemaError
from matchlake.learners.params import SarimaxParams
from matchlake.learners.sarimax import Forecast, Series, fit_series, forecast_series
from matchlake.model_store.forecast_model import FittedSeries, ForecastModel
from matchlake.training.forecast_importance import (
    drawn_series,
    exogenous_blocks,
    exogenous_importance,
    shuffled_seasons,
)
from matchlake.training.importance import Importance
from matchlake.training.model_params import ImportanceParams

KNOWN, HORIZON = 60, 8
KEY = "matchlake key 0"


def params(**changed: Any) -> SarimaxParams:
    given = {"order": (1, 0, 0), "horizon": HORIZON, "exogenous": ("price", "noise")}
    return SarimaxParams.model_validate(given | changed)


def series(seed: int = 0, known: int = KNOWN) -> Series:
    """A planted effect of 3 of the first column, none of the second."""
    random = np.random.default_rng(seed)
    count = known + HORIZON
    exogenous = random.normal(size=(count, 2))
    noise = np.zeros(count)
    for i in range(1, count):
        noise[i] = 0.6 * noise[i - 1] + random.normal()
    times = pd.date_range("2024-01-01", periods=count, freq="D")
    return Series(times, 10 + 3 * exogenous[:, 0] + noise, exogenous)


def without_future(made: Series) -> Series:
    values = made.values.copy()
    values[-HORIZON:] = np.nan
    return made._replace(values=values)


def measured(
    fits: dict[str, tuple[Series, tuple[float, ...]]],
    chosen: SarimaxParams,
    importance: ImportanceParams,
    seed: int = 5,
) -> dict[str, Importance]:
    """The importance by root mean squared error, of series with their parameters."""
    rows, history = [], []
    for key, (made, parameters) in fits.items():
        found = forecast_series(without_future(made), chosen, parameters)
        assert isinstance(found, Forecast)
        own = {KEY: key, "time": found.times, "truth": made.values[-HORIZON:]}
        rows.append(pd.DataFrame(own | {"prediction": found.mean}))
        values = pd.DataFrame(made.exogenous, columns=["value 0", "value 1"])
        history.append(values.assign(time=made.times).assign(**{KEY: key}))
    model = ForecastModel(
        name="m", params=chosen, series=("shop",), time="day", value="sold",
        fitted=tuple(FittedSeries(key=(key,), parameters=each) for key, (_, each) in fits.items()),
    )  # fmt: skip
    past = pd.concat(history)[[KEY, "time", "value 0", "value 1"]]
    return exogenous_importance(model, pd.concat(rows), past, ("rmse", importance, seed))


@pytest.mark.parametrize(
    ("chosen", "parameters"),
    [
        (params(), (2.5, -1.0, 0.6, 1.0)),
        (params(trend="ct"), (1.0, 0.1, 2.5, -1.0, 0.6, 1.0)),
        (params(order=(0, 1, 1)), (2.5, -1.0, 0.3, 1.0)),
        (
            params(order=(1, 1, 0), seasonal_order=(0, 1, 1), season=7),
            (2.5, -1.0, 0.4, -0.3, 1.0),
        ),
    ],
    ids=["plain", "trend", "differences", "seasons"],
)
def test_a_shuffle_costs_what_forecasts_of_statsmodels_lose(
    chosen: SarimaxParams, parameters: tuple[float, ...]
) -> None:
    made, seed = series(), 5
    found = measured({"a": (made, parameters)}, chosen, ImportanceParams(repeats=3), seed)
    shuffles = shuffled_seasons(
        made.exogenous, max(chosen.season, 1), 3, np.random.default_rng(seed)
    )
    truth, asked = made.values[-HORIZON:], without_future(made)

    def loss(exogenous: np.ndarray) -> float:
        forecast = forecast_series(asked._replace(exogenous=exogenous), chosen, parameters)
        assert isinstance(forecast, Forecast)
        return float(np.sqrt(np.square(forecast.mean - truth).mean()))

    for column, name in enumerate(chosen.exogenous):
        for repeat, value in enumerate(found[name].values):
            exogenous = made.exogenous.copy()
            exogenous[-HORIZON:, column] = shuffles[repeat, -HORIZON:, column]
            assert value == pytest.approx(loss(exogenous) - loss(made.exogenous), abs=1e-9)
            assert value != 0


def test_a_shuffle_keeps_seasons_whole_and_periods_of_the_season_in_place() -> None:
    values = np.arange(2 * 23.0).reshape(23, 2)
    found = shuffled_seasons(values, 5, 50, np.random.default_rng(1))
    assert (found[:, :3] == values[:3]).all()
    assert (np.sort(found, axis=1) == values).all()
    blocks = found[:, 3:].reshape(50, 4, 5, 2)
    assert (blocks - blocks[:, :, :1] == (values[3:8] - values[3])).all()
    assert len({tuple(each[:, 0, 0]) for each in blocks}) > 15


@pytest.mark.parametrize(
    "seed", [0, 1, 2, *(pytest.param(i, marks=pytest.mark.soak) for i in range(3, 20))]
)
def test_a_planted_effect_is_found_and_white_noise_is_not(seed: int) -> None:
    chosen = params(trend="c")
    fits = {}
    for key in ("a", "b"):
        made = series(100 * seed + ord(key))
        fitted = fit_series(without_future(made), chosen)
        assert fitted.parameters is not None
        fits[key] = (made, fitted.parameters)
    found = measured(fits, chosen, ImportanceParams(repeats=20), seed)
    assert list(found) == ["price", "noise"]
    assert found["price"].mean > 1.0
    assert abs(found["noise"].mean) < 0.2


def test_columns_of_a_group_are_shuffled_together() -> None:
    made, parameters = series(), (2.5, 0.0, 0.6, 1.0)
    alone = measured({"a": (made, parameters)}, params(), ImportanceParams())
    both = measured(
        {"a": (made, parameters)}, params(), ImportanceParams(groups={"all": ("price", "noise")})
    )
    assert alone["noise"].values == (0.0,) * 5
    assert both == {"all": alone["price"]}
    assert exogenous_blocks(("a", "b", "c"), {"g": ("a", "c")}) == {"b": [1], "g": [0, 2]}
    with pytest.raises(SchemaError, match="cost"):
        exogenous_blocks(("price",), {"g": ("cost",)})
    with pytest.raises(ParameterError, match="price is in two groups"):
        exogenous_blocks(("price",), {"g": ("price",), "h": ("price",)})


def test_series_without_two_seasons_do_not_count() -> None:
    chosen = params(order=(1, 0, 0), seasonal_order=(1, 0, 0), season=20)
    parameters = (2.5, -1.0, 0.4, 0.3, 1.0)
    short, long = series(1, known=29), series(2)
    with pytest.raises(InputError, match="no series has two seasons"):
        measured({"a": (short, parameters)}, chosen, ImportanceParams())
    alone = measured({"b": (long, parameters)}, chosen, ImportanceParams())
    assert (
        measured({"a": (short, parameters), "b": (long, parameters)}, chosen, ImportanceParams())
        == alone
    )


def test_whole_series_are_drawn() -> None:
    rows = pd.DataFrame({KEY: np.repeat(list("abcdefgh"), 10), "time": np.tile(range(10), 8)})
    assert drawn_series(rows, [KEY], None, 1) is rows
    assert drawn_series(rows, [KEY], 80, 1) is rows
    found = drawn_series(rows, [KEY], 35, 1)
    assert found.groupby(KEY).size().tolist() == [10, 10, 10]
    assert found.equals(drawn_series(rows, [KEY], 35, 1))
    assert set(found[KEY]) != set(drawn_series(rows, [KEY], 35, 2)[KEY])
    assert len(drawn_series(rows, [KEY], 10, 1)) == 10
    assert len(drawn_series(rows, [KEY], 9, 1)) == 10
