"""Seasonal ARIMA models of many series: each series is a group of rows, fitted in parallel."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from matchlake.learners.params import SarimaxParams
from matchlake.learners.sarimax import (
    Forecast,
    Series,
    check_frequency,
    fit_series,
    forecast_series,
    read_series,
)
from matchlake.schemas import quote_identifier

Key = tuple[str | None, ...]
"""The values of the columns that identify a series, as strings."""


class SeriesColumns(NamedTuple):
    """The columns of a table that define its series."""

    series: tuple[str, ...]
    """The columns that identify a series; empty: the table is one series."""
    time: str
    value: str


def fit_sarimax(frame: DataFrame, columns: SeriesColumns, params: SarimaxParams) -> DataFrame:
    """Returns one row per series: its columns, `parameters`, `aic`, `periods`, `reason`. Lazy.

    If a series has no model, `parameters` is null and `reason` says why. Rows after the last value
    of a series are ignored. Raises ParameterError for an unknown frequency.
    """

    def fit(series: Series, key: Key) -> dict[str, Any]:
        del key
        found = fit_series(series, params)
        return {
            "parameters": pa.array([found.parameters], pa.list_(pa.float64())),
            "aic": pa.array([found.aic], pa.float64()),
            "periods": pa.array([found.periods], pa.int32()),
            "reason": pa.array([found.reason], pa.string()),
        }

    listed = "parameters ARRAY<DOUBLE>, aic DOUBLE, periods INT, reason STRING"
    return _by_series(frame, columns, params, fit, listed)


def forecast_sarimax(
    frame: DataFrame,
    columns: SeriesColumns,
    params: SarimaxParams,
    parameters: Mapping[Key, tuple[float, ...]],
    reasons: Mapping[Key, str],
) -> DataFrame:
    """Returns one row per series and future period. Lazy.

    Columns: time, `prediction`, `low`, `high`, and `reason`. A series without a forecast has one
    row with its `reason`, and without a time. `reasons` has the reasons of the series without
    parameters.
    """

    def forecast(series: Series, key: Key) -> dict[str, Any]:
        known = parameters.get(key)
        found: Forecast | str = reasons.get(key, "the series is not in the model")
        if known is not None:
            found = forecast_series(series, params, known)
        if isinstance(found, str):
            nothing = pa.nulls(1, pa.float64())
            times = pa.nulls(1, pa.timestamp("us", "UTC"))
            numbers = dict.fromkeys(("prediction", "low", "high"), nothing)
            return {columns.time: times, **numbers, "reason": pa.array([found], pa.string())}
        times = pa.array(found.times.tz_localize("UTC").as_unit("us"))
        numbers = {"prediction": found.mean, "low": found.low, "high": found.high}
        return {
            columns.time: times,
            **{name: pa.array(values) for name, values in numbers.items()},
            "reason": pa.nulls(len(found.mean), pa.string()),
        }

    time = quote_identifier(columns.time)
    listed = f"{time} TIMESTAMP, prediction DOUBLE, low DOUBLE, high DOUBLE, reason STRING"
    return _by_series(frame, columns, params, forecast, listed)


def _by_series(
    frame: DataFrame,
    columns: SeriesColumns,
    params: SarimaxParams,
    function: Callable[[Series, Key], dict[str, Any]],
    listed: str,
) -> DataFrame:
    """Returns the columns that `function` computes for each series, and those of the series."""
    check_frequency(params)
    read = [(name, "string") for name in columns.series]
    read += [(columns.time, "timestamp"), (columns.value, "double")]
    read += [(name, "double") for name in params.exogenous]
    # Columns are renamed by position, because one column may be both exogenous and part of the key.
    selected = [
        F.col(quote_identifier(name)).cast(kind).alias(f"c{i}")
        for i, (name, kind) in enumerate(read)
    ]
    names = [f"c{i}" for i in range(len(columns.series))]

    def work(table: pa.Table) -> pa.Table:
        from threadpoolctl import threadpool_limits  # noqa: PLC0415 - where the tasks run

        key = tuple(table[name][0].as_py() for name in names)
        rows = table.drop_columns(names).to_pandas()
        time = rows.columns[0]
        if rows[time].dt.tz is not None:
            rows[time] = rows[time].dt.tz_convert("UTC").dt.tz_localize(None)
        with threadpool_limits(1):  # Spark already runs one series per core
            found = function(read_series(rows), key)
        count = len(next(iter(found.values())))
        named = {
            name: pa.array([value] * count, pa.string())
            for name, value in zip(columns.series, key, strict=True)
        }
        return pa.table(named | found)

    schema = ", ".join([*(f"{quote_identifier(name)} STRING" for name in columns.series), listed])
    return frame.select(*selected).groupBy(*names).applyInArrow(work, schema)
