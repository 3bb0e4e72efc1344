"""A seasonal ARIMA of one series, by statsmodels.

If a series cannot be fitted or forecast, the function returns the reason and does not raise. Among
thousands of series, some are short, constant, or have gaps.
"""

import warnings
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from matchlake.errors import ParameterError
from matchlake.learners.params import SarimaxParams

Doubles = npt.NDArray[np.float64]
_LARGEST = 1e150


class Series(NamedTuple):
    """The periods of one series, by time."""

    times: pd.DatetimeIndex
    values: Doubles
    """NaN for a future period, after the last known one."""
    exogenous: Doubles
    """The exogenous values (periods, columns)."""

    @property
    def known(self) -> int:
        """The number of periods up to the last known one."""
        present = np.flatnonzero(~np.isnan(self.values))
        return int(present[-1]) + 1 if len(present) else 0


class SeriesFit(NamedTuple):
    """The result of the fit of one series."""

    parameters: tuple[float, ...] | None
    """The parameters in the order of statsmodels; None if there is a reason."""
    aic: float | None
    periods: int
    reason: str | None
    """The reason why there is no model; None if there is a model."""


class Forecast(NamedTuple):
    """The values after the last known period."""

    times: pd.DatetimeIndex
    mean: Doubles
    low: Doubles
    high: Doubles


def read_series(frame: pd.DataFrame) -> Series:
    """Reads a frame with the columns time, value, and then the exogenous columns."""
    times = pd.DatetimeIndex(frame.iloc[:, 0])
    order = times.argsort(kind="stable")
    numbers = frame.iloc[order, 1:].to_numpy(np.float64, na_value=np.nan)
    return Series(times[order], numbers[:, 0], numbers[:, 1:])


def reason_against(series: Series, params: SarimaxParams) -> str | None:
    """Returns why a series cannot be fitted; None if it can be fitted."""
    periods = series.known
    if periods < params.least_periods:
        return f"{periods} known periods; this model needs {params.least_periods} or more"
    return _reason_against_times(series.times, params.frequency) or _reason_against_values(
        series.values[:periods], series.exogenous[:periods]
    )


def _reason_against_values(known: Doubles, exogenous: Doubles) -> str | None:
    gaps = int(np.isnan(known).sum())
    if gaps:
        return f"{gaps} periods before the last known one have no value"
    if not (np.abs(known) < _LARGEST).all():
        return f"values are infinite or beyond {_LARGEST:g}"
    if (known == known[0]).all():
        return f"all {len(known)} values are equal"
    if not (np.abs(exogenous) < _LARGEST).all():
        return "an exogenous value is missing or infinite"
    return None


def _reason_against_times(times: pd.DatetimeIndex, frequency: str) -> str | None:
    if times.hasnans:
        return "a row has no time"
    if times.has_duplicates:
        return f"two rows have the time {times[times.duplicated()][0]}"
    expected = pd.date_range(times[0], times[-1], freq=frequency)
    missing = expected.difference(times)
    if len(missing):
        more = f", and {len(missing) - 1} more gaps" if len(missing) > 1 else ""
        return f"no row has the time {missing[0]}{more}"
    outside = times.difference(expected)
    if len(outside):
        return f"the time {outside[0]} does not fit the frequency {frequency}"
    return None


def check_frequency(params: SarimaxParams) -> None:
    """Raises ParameterError for a frequency that pandas does not know."""
    try:
        pd.tseries.frequencies.to_offset(params.frequency)
    except ValueError:
        raise ParameterError(
            f"frequency is {params.frequency!r}, which is not a frequency of pandas. Choose one "
            "such "
            "as D, W-MON, MS or h."
        ) from None


def fit_series(series: Series, params: SarimaxParams) -> SeriesFit:
    """Fits one series up to its last known period."""
    periods = series.known
    reason = reason_against(series, params)
    if reason is not None:
        return SeriesFit(None, None, periods, reason)
    try:
        with warnings.catch_warnings():
            # the warnings of thousands of series would fill the log
            warnings.simplefilter("ignore")
            found = _model(series, params).fit(disp=0, maxiter=params.max_iterations)
            parameters, aic = tuple(map(float, found.params)), float(found.aic)
    except (ValueError, np.linalg.LinAlgError) as error:
        reason = str(error).partition("\n")[0]
        return SeriesFit(None, None, periods, f"statsmodels cannot fit it: {reason}")
    if not np.isfinite([*parameters, aic]).all():
        return SeriesFit(None, None, periods, "the fit did not give finite parameters")
    return SeriesFit(parameters, aic, periods, None)


def forecast_series(
    series: Series, params: SarimaxParams, parameters: tuple[float, ...]
) -> Forecast | str:
    """Forecasts the next `horizon` periods from known parameters, or returns a reason.

    Nothing is fitted: the parameters may come from an earlier part of the series.
    """
    reason = reason_against(series, params)
    if reason is not None:
        return reason
    periods = series.known
    future = series.exogenous[periods : periods + params.horizon]
    if params.exogenous and len(future) < params.horizon:
        return f"exogenous values of {len(future)} future periods, not of {params.horizon}"
    if not np.isfinite(future).all():
        return "a future exogenous value is missing or infinite"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            filtered = _model(series, params).filter(np.array(parameters))
            found = filtered.get_forecast(params.horizon, exog=future if len(future.T) else None)
            limits = np.asarray(found.conf_int(alpha=1 - params.confidence))
            mean = np.asarray(found.predicted_mean)
    except (ValueError, np.linalg.LinAlgError) as error:
        return f"statsmodels cannot forecast it: {str(error).partition(chr(10))[0]}"
    if not np.isfinite(mean).all():
        return "the forecast has infinite values or NaN"
    last = series.times[periods - 1]
    times = pd.date_range(last, periods=params.horizon + 1, freq=params.frequency)[1:]
    return Forecast(times, mean, limits[:, 0], limits[:, 1])


def exogenous_parameters(params: SarimaxParams, parameters: tuple[float, ...]) -> Doubles:
    """Returns the coefficients of the exogenous columns, which follow those of the trend."""
    start = len(params.trend.strip("n"))
    return np.array(parameters[start : start + len(params.exogenous)])


def _model(series: Series, params: SarimaxParams) -> Any:
    from statsmodels.tsa.statespace.sarimax import SARIMAX  # noqa: PLC0415 - seconds to import

    periods = series.known
    exogenous = series.exogenous[:periods] if params.exogenous else None
    return SARIMAX(
        series.values[:periods],
        exog=exogenous,
        order=params.order,
        seasonal_order=(*params.seasonal_order, params.season),
        trend=params.trend,
    )
