"""Many seasonal ARIMAs: groups of a Spark table against statsmodels' own loop over the cores."""

import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from typing import Any

import numpy as np
import pandas as pd
from pyspark.sql import SparkSession
from threadpoolctl import threadpool_limits

from matchlake.learners.params import SarimaxParams
from matchlake.learners.sarimax_frame import SeriesColumns, fit_sarimax

PERIODS = 200
PARAMS = SarimaxParams(order=(1, 1, 1), exogenous=("x", "y", "z"), frequency="D")


def made_series(count: int) -> pd.DataFrame:
    """Random walks with three exogenous columns."""
    random = np.random.default_rng(0)
    parts = []
    times = pd.date_range("2024-01-01", periods=PERIODS, freq="D")
    for number in range(count):
        exogenous = random.normal(size=(PERIODS, 3))
        noise = random.normal(size=PERIODS)
        walk = np.cumsum(noise + 0.4 * np.roll(noise, 1)) + exogenous @ [1.0, -2.0, 0.0]
        columns = {"series": f"s{number:05d}", "time": times, "value": walk}
        columns |= dict(zip("xyz", exogenous.T, strict=True))
        parts.append(pd.DataFrame(columns))
    return pd.concat(parts, ignore_index=True)


def fit_one(values: np.ndarray, exogenous: np.ndarray) -> list[float]:
    """The parameters of one series by statsmodels alone."""
    import warnings  # noqa: PLC0415

    from statsmodels.tsa.statespace.sarimax import SARIMAX  # noqa: PLC0415

    with warnings.catch_warnings(), threadpool_limits(1):
        warnings.simplefilter("ignore")
        model = SARIMAX(values, exog=exogenous, order=(1, 1, 1))
        return [float(each) for each in model.fit(disp=0, maxiter=50).params]


def _theirs(rows: pd.DataFrame, cores: int) -> dict[str, list[float]]:
    groups = list(rows.groupby("series"))
    values = [group["value"].to_numpy() for _, group in groups]
    exogenous = [group[["x", "y", "z"]].to_numpy() for _, group in groups]
    with ProcessPoolExecutor(cores, mp_context=get_context("spawn")) as pool:
        found = list(pool.map(fit_one, values, exogenous, chunksize=10))
    return dict(zip((name for name, _ in groups), found, strict=True))


def _ours(spark: SparkSession, source: str, cores: int) -> dict[str, list[float]]:
    columns = SeriesColumns(("series",), "time", "value")
    frame = spark.read.parquet(source).repartition(4 * cores, "series")
    found = fit_sarimax(frame, columns, PARAMS).toPandas()
    return dict(zip(found["series"], map(list, found["parameters"]), strict=True))


def compare_series(
    spark: SparkSession, folder: str, count: int, rounds: int, cores: int
) -> dict[str, Any]:
    """Seconds of both sides in turn, and the largest difference of a parameter."""
    rows = made_series(count)
    source = f"{folder}/series"
    spark.createDataFrame(rows).write.parquet(source)
    sides = {
        "ours": partial(_ours, spark, source, cores),
        "statsmodels": partial(_theirs, rows, cores),
    }
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    found: dict[str, dict[str, list[float]]] = {}
    for _ in range(rounds):
        for name, side in sides.items():
            begin = time.perf_counter()
            found[name] = side()
            seconds[name].append(round(time.perf_counter() - begin, 2))
    apart = max(
        float(np.max(np.abs(np.subtract(parameters, found["statsmodels"][name]))))
        for name, parameters in found["ours"].items()
    )
    medians = {name: float(np.median(each)) for name, each in seconds.items()}
    return {
        "series": count,
        **seconds,
        "largest": apart,
        "ratio": {"statsmodels": round(medians["ours"] / medians["statsmodels"], 3)},
    }
