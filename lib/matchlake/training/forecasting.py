"""The steps of `train_model` for forecasts: fits each series, forecasts the test part, compares."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from matchlake.errors import FitError, InputError, SchemaError
from matchlake.io.delta import Lakehouse
from matchlake.io.mlflow_tracking import Tracker
from matchlake.io.model_versions import Decision
from matchlake.learners.params import SarimaxParams
from matchlake.learners.sarimax_frame import SeriesColumns, fit_sarimax
from matchlake.model_store.forecast_model import FittedSeries, ForecastModel, load_forecast_model
from matchlake.schemas import MODEL_VERSION, quote_identifier
from matchlake.training.forecast_importance import (
    PREDICTION,
    TIME,
    TRUTH,
    drawn_series,
    exogenous_blocks,
    exogenous_importance,
    key_names,
    key_texts,
    read_history,
)
from matchlake.training.importance import Importance
from matchlake.training.model_data import cutoff
from matchlake.training.model_gate import FiguresByModel, comparable_champion, judge
from matchlake.training.model_params import ModelParams
from matchlake.training.task_metrics import Scored

_log = logging.getLogger(__name__)

_TRUTH, _NAIVE, _PREDICTED = "matchlake truth", "matchlake naive", "matchlake predicted"
"""Column names that conf does not allow."""
_SHOWN = 5


@dataclass(frozen=True)
class Backtest:
    """A forecast model, fitted to the training part and compared on the test part."""

    model: ForecastModel
    version: int
    """The Delta version of the rows."""
    figures: FiguresByModel
    """The metrics; the baseline `constant` repeats the last value of each series."""
    decision: Decision
    importances: Mapping[str, Importance]
    """The permutation importance of the exogenous columns, the most important first."""


def backtest(lake: Lakehouse, name: str, params: ModelParams, tracker: Tracker) -> Backtest:
    """Fits every series up to the split, forecasts the test part, and decides on the alias.

    Spark jobs: one for the time of the split, one for the fit, one per compared model, and one for
    the importance of exogenous columns. Raises SchemaError for missing columns, ParameterError for
    wrong groups of columns, InputError without test rows, and FitError if no series has a model.
    """
    exogenous_blocks(_trainer(name, params).exogenous, params.importance.groups)
    version = lake.version(params.rows)
    frame, columns = _rows(lake.read(params.rows, version), name, params)
    time, value = (F.col(quote_identifier(each)) for each in (columns.time, columns.value))
    last = cutoff(frame.where(value.isNotNull()), params.split)
    known = frame.withColumn(columns.value, F.when(time <= F.lit(last), value))
    model = _fitted(known, name, params, columns)
    truth = frame.where((time > F.lit(last)) & value.isNotNull())
    champion, without = comparable_champion(tracker, params, load_forecast_model)
    models = {"model": model} | ({} if champion is None else {"champion": champion})
    rows = _compared(models, known, truth, columns)
    if rows.empty:
        raise InputError(
            f"models.{name}: no test row lies within {model.params.horizon} periods after the "
            "training part. Choose a larger horizon, or another split."
        )
    scored = {
        each: Scored(rows[f"{_PREDICTED} {each}"].to_numpy(), rows[_TRUTH].to_numpy())
        for each in models
    }
    scored["constant"] = Scored(rows[_NAIVE].to_numpy(), rows[_TRUTH].to_numpy())
    return Backtest(
        *(model, version, *judge(scored, params, without)),
        _importances(model, rows, frame, params),
    )


def _importances(
    model: ForecastModel, rows: pd.DataFrame, frame: DataFrame, params: ModelParams
) -> Mapping[str, Importance]:
    """Returns the importance of the exogenous columns, on a sample of the compared series."""
    if not model.params.exogenous:
        return {}
    keys = key_names(model.series)
    named = {model.time: TIME, _TRUTH: TRUTH, f"{_PREDICTED} model": PREDICTION}
    chosen = (params.importance.metric or params.deciding_metric, params.importance, params.seed)
    some = drawn_series(
        rows[[*keys, *named]].rename(columns=named), keys, chosen[1].rows, params.seed
    )
    try:
        return exogenous_importance(model, some, read_history(frame, model, some), chosen)
    except InputError as error:
        _log.warning("the importance of the exogenous columns was not computed: %s", error)
        return {}


def _trainer(name: str, params: ModelParams) -> SarimaxParams:
    if params.trainer.kind != "sarimax":
        raise InputError(f"models.{name}: the task forecasting requires the trainer sarimax.")
    return params.trainer


def _rows(frame: DataFrame, name: str, params: ModelParams) -> tuple[DataFrame, SeriesColumns]:
    trainer = _trainer(name, params)
    columns = SeriesColumns(params.keys[:-1], params.keys[-1], params.label or "")
    needed = [*params.keys, columns.value, *trainer.exogenous]
    missing = [each for each in needed if each not in frame.columns]
    if missing:
        where = f"{params.rows}, which models.{name} reads"
        raise SchemaError.missing(where, missing, frame.columns)
    value = F.col(quote_identifier(columns.value)).cast("double")
    return frame.withColumn(columns.value, value), columns


def _fitted(
    known: DataFrame, name: str, params: ModelParams, columns: SeriesColumns
) -> ForecastModel:
    trainer = _trainer(name, params)
    table = fit_sarimax(known, columns, trainer).toArrow()
    rows = table.sort_by([(each, "ascending") for each in columns.series] or "periods").to_pylist()
    fitted = tuple(
        FittedSeries.model_validate(
            {
                "key": tuple(row[each] for each in columns.series),
                "parameters": None if row["parameters"] is None else tuple(row["parameters"]),
                "reason": row["reason"],
            }
        )
        for row in rows
    )
    model = ForecastModel(
        name=name,
        params=trainer,
        series=columns.series,
        time=columns.time,
        value=columns.value,
        fitted=fitted,
    )
    reasons = list(dict.fromkeys(model.reasons.values()))
    if not model.parameters:
        listed = "; ".join(reasons[:_SHOWN]) or "the table has no rows"
        raise FitError(f"models.{name}: none of {len(fitted)} series has a model: {listed}.")
    if reasons:
        _log.warning(
            "models.%s: %d of %d series have no model: %s",
            *(name, len(model.reasons), len(fitted), "; ".join(reasons[:_SHOWN])),
        )
    return model


def _compared(
    models: Mapping[str, ForecastModel], known: DataFrame, truth: DataFrame, columns: SeriesColumns
) -> pd.DataFrame:
    """Returns the test rows that every model forecasts, with the truth and the last known value."""
    keys = [*columns.series, columns.time]
    value, time = quote_identifier(columns.value), quote_identifier(columns.time)
    names = [quote_identifier(each) for each in columns.series]
    last = f"max_by({value}, {time}) FILTER (WHERE {value} IS NOT NULL)"
    naive = known.groupBy(*names).agg(F.expr(last).alias(_NAIVE))
    texts = key_texts(columns.series)
    rows = truth.select(*map(quote_identifier, keys), *texts, F.col(value).alias(_TRUTH))
    rows = rows.join(naive, list(columns.series)) if columns.series else rows.crossJoin(naive)
    for name, model in models.items():
        made = model.transform(known).where("prediction IS NOT NULL")
        predicted = F.col("prediction").alias(f"{_PREDICTED} {name}")
        rows = rows.join(made.select(*map(quote_identifier, keys), predicted), keys)
    table = rows.toArrow().sort_by([(each, "ascending") for each in keys])
    found: pd.DataFrame = table.to_pandas()
    return found


def forecasts(model: ForecastModel, frame: DataFrame, version: str) -> DataFrame:
    """Forecasts each series, with the columns `refusal` and `model_version`. Lazy.

    A series without a forecast has one row without a time, with the reason in `refusal`.
    """
    made = model.transform(frame).withColumnRenamed("reason", "refusal")
    return made.withColumn(MODEL_VERSION.name, F.lit(version))
