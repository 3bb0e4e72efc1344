"""Permutation importance of the exogenous columns of forecasts: shuffles whole seasons.

A shuffle permutes whole seasons of a column within each series, history and test part together. So
each value stays at the same position within a season. Only the values of forecast periods are
replaced; the fit of the history stays as it is. A seasonal ARIMA adds each exogenous value times a
parameter, so a shuffle changes a forecast by the difference times this parameter.
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pandas as pd
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from matchlake.errors import InputError
from matchlake.learners.sarimax import exogenous_parameters
from matchlake.learners.sarimax_frame import Key
from matchlake.model_store.forecast_model import ForecastModel
from matchlake.schemas import quote_identifier
from matchlake.training.importance import Importance, grouped_blocks
from matchlake.training.model_params import LOWER_IS_BETTER, ImportanceParams
from matchlake.training.task_metrics import Doubles, Scored, metric

TIME, TRUTH, PREDICTION = "time", "truth", "prediction"
"""Columns of the test rows besides their keys."""


def key_texts(series: Sequence[str]) -> list[Column]:
    """Returns the key columns of a series as strings, as in a model; see `key_names`."""
    return [
        F.col(quote_identifier(name)).cast("string").alias(each)
        for name, each in zip(series, key_names(series), strict=True)
    ]


def key_names(series: Sequence[str]) -> list[str]:
    """Returns names for the key columns; conf does not allow these names."""
    return [f"matchlake key {i}" for i in range(len(series))]


def exogenous_blocks(
    exogenous: Sequence[str], groups: Mapping[str, Sequence[str]]
) -> dict[str, list[int]]:
    """Returns the positions of the columns that are shuffled together, by name.

    Checks the groups.
    """
    places = {name: [place] for place, name in enumerate(exogenous)}
    return grouped_blocks(places, {name: name for name in exogenous}, groups)


def drawn_series(
    rows: pd.DataFrame, keys: Sequence[str], most: int | None, seed: int
) -> pd.DataFrame:
    """Samples whole series, at least one, so that there are at most `most` rows."""
    if most is None or len(rows) <= most or not keys:
        return rows
    number = rows.groupby(list(keys)).ngroup().to_numpy()
    order = np.random.default_rng(seed).permutation(number.max() + 1)
    total = np.cumsum(np.bincount(number)[order])
    kept = order[: max(1, int((total <= most).sum()))]
    return rows[np.isin(number, kept)]


def read_history(frame: DataFrame, model: ForecastModel, rows: pd.DataFrame) -> pd.DataFrame:
    """Reads keys, time and exogenous columns of the series of `rows`, by time. One Spark job."""
    keys = key_names(model.series)
    values = [
        F.col(quote_identifier(name)).cast("double").alias(f"value {i}")
        for i, name in enumerate(model.params.exogenous)
    ]
    time = F.col(quote_identifier(model.time)).alias(TIME)
    found = frame.select(*key_texts(model.series), time, *values)
    if keys:
        names = list(rows[keys].drop_duplicates().itertuples(index=False, name=None))
        schema = ", ".join(f"{quote_identifier(key)} STRING" for key in keys)
        chosen = frame.sparkSession.createDataFrame(names, schema)
        found = found.join(F.broadcast(chosen), keys)
    table: pd.DataFrame = found.toArrow().to_pandas()
    return table.sort_values([*keys, TIME], ignore_index=True)


def exogenous_importance(
    model: ForecastModel,
    rows: pd.DataFrame,
    history: pd.DataFrame,
    chosen: tuple[str, ImportanceParams, int],
) -> dict[str, Importance]:
    """Returns the importance of the exogenous columns, or of their groups, the largest first.

    Args:
        model: The model of the forecasts.
        rows: Test rows: their keys as strings, TIME, TRUTH and PREDICTION.
        history: The table of `read_history` for the series of these rows.
        chosen: The metric, repeats and groups, and the seed.

    Raises:
        InputError: No series has two seasons.
    """
    name, params, seed = chosen
    random = np.random.default_rng(seed)
    parts = []
    for key, own, past in _by_series(rows, history, key_names(model.series)):
        added = _added(model, key, own, past, params.repeats, random)
        if added is not None:
            parts.append((own[TRUTH].to_numpy(np.float64), own[PREDICTION].to_numpy(), added))
    if not parts:
        raise InputError("no series has two seasons, so no season can be shuffled")
    truth, before = (np.concatenate([part[i] for part in parts]) for i in range(2))
    added = np.concatenate([part[2] for part in parts], axis=1)
    sign = 1.0 if name in LOWER_IS_BETTER else -1.0

    def loss(prediction: Doubles) -> float:
        return sign * metric(Scored(prediction, truth), name)

    base = loss(before)
    blocks = exogenous_blocks(model.params.exogenous, params.groups)
    found = {
        block: Importance(
            tuple(loss(before + each) - base for each in added[..., places].sum(axis=2))
        )
        for block, places in blocks.items()
    }
    return dict(sorted(found.items(), key=lambda pair: -pair[1].mean))


def _by_series(
    rows: pd.DataFrame, history: pd.DataFrame, keys: list[str]
) -> Iterator[tuple[Key, pd.DataFrame, pd.DataFrame]]:
    """Yields the key, the test rows and the history of each series."""
    if not keys:
        yield (), rows, history
        return
    past = dict(iter(history.groupby(keys)))
    for key, own in rows.groupby(keys):
        yield tuple(map(str, key)), own, past[key]


def _added(
    model: ForecastModel,
    key: Key,
    own: pd.DataFrame,
    past: pd.DataFrame,
    repeats: int,
    random: np.random.Generator,
) -> Doubles | None:
    """Returns what each shuffle of each column adds to the forecasts (repeats, rows, columns)."""
    places = pd.Index(past[TIME]).get_indexer(pd.Index(own[TIME]))
    columns = len(model.params.exogenous)
    values = past.iloc[: places.max() + 1, -columns:].to_numpy(np.float64)
    season = max(model.params.season, 1)
    if len(values) < 2 * season:
        return None
    changes = shuffled_seasons(values, season, repeats, random)[:, places] - values[places]
    added: Doubles = changes * exogenous_parameters(model.params, model.parameters[key])
    return added


def shuffled_seasons(
    values: Doubles, season: int, repeats: int, random: np.random.Generator
) -> Doubles:
    """Returns the values (repeats, periods, columns) with their whole seasons shuffled.

    Seasons are counted from the last period. Periods before the first whole season stay.
    """
    count, columns = values.shape
    seasons = count // season
    start = count - seasons * season
    whole = values[start:].reshape(seasons, season, columns)
    found = np.repeat(values[None], repeats, axis=0)
    for each in found:
        each[start:] = whole[random.permutation(seasons)].reshape(-1, columns)
    return found
