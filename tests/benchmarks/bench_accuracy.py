"""RMSE and MAE of predicted ratings, fold by fold, of every model of the product.

    python -m tests.benchmarks.bench_accuracy --folds 1,2,3,4,5 --seeds 0,1,2 --json

MovieLens-100K with the published folds u1..u5: the test rows of a fold never reach a fit, its
features or its history. RMSE and MAE come from one vector of scores, clipped once. Parameters were
chosen with `--validation`, which sees the training rows of a fold only and tests on a part of them.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pyspark.sql import DataFrame, SparkSession
from tests.benchmarks.accuracy_data import Ratings, ml_100k

from matchlake.recommender.als import AlsParams, fit_als
from matchlake.recommender.baselines.bias import fit_bias
from matchlake.recommender.matchbox.fit import fit_matchbox
from matchlake.recommender.matchbox.params import MatchboxParams

SETS = {"ml-100k": ml_100k}
ALS = {"feedback": "explicit", "rank": 16, "iterations": 15, "regularization": 0.12, "nu": 1.0}


@dataclass(frozen=True)
class Fold:
    """One fold as frames, and what a method needs to know of the run."""

    train: DataFrame
    test: DataFrame
    users: DataFrame
    items: DataFrame
    stars: tuple[float, float]
    options: argparse.Namespace
    seed: int


@dataclass
class Figures:
    """What one method reached: a value a fold and seed."""

    rmse: list[float] = field(default_factory=list)
    mae: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    more: dict[str, list[float]] = field(default_factory=dict)

    def means(self) -> dict[str, float]:
        """Means over folds and seeds."""
        found = {"rmse": self.rmse, "mae": self.mae, "seconds": self.seconds} | self.more
        return {name: round(float(np.mean(values)), 5) for name, values in found.items()}


def bias(fold: Fold) -> DataFrame:
    """Biases only."""
    return fit_bias(fold.train).score(fold.test)


def als(fold: Fold) -> DataFrame:
    """Alternating least squares with biases."""
    params = AlsParams.model_validate(ALS | {"seed": fold.seed})
    return fit_als(fold.train, params).score(fold.test)


def matchbox(*, features: bool = False, **choices: Any) -> Callable[[Fold], DataFrame]:
    """Matchbox with some of its inputs."""

    def run(fold: Fold) -> DataFrame:
        options = fold.options
        params = MatchboxParams.model_validate(
            {
                "rank": options.rank,
                "samples": options.samples,
                "burn_in": options.burn_in,
                "thinning": options.thinning,
                "seed": fold.seed,
                **choices,
            }
        )
        sides = (fold.users, fold.items) if features else (None, None)
        return fit_matchbox(fold.train, *sides, params).score(fold.test)

    return run


METHODS: dict[str, Callable[[Fold], DataFrame]] = {
    "bias": bias,
    "als": als,
    "plain": matchbox(history=False),
    "features": matchbox(features=True, history=False),
    "history": matchbox(),
    "features+history": matchbox(features=True),
    "features+history, ordinal": matchbox(features=True, ordinal=True),
    "features+history+dates": matchbox(features=True, dates=True),
    "features+history+dates, ordinal": matchbox(features=True, dates=True, ordinal=True),
}


def main() -> None:
    """Runs the benchmark that the command line describes."""
    options = arguments()
    result: dict[str, Any] = {"bench": "accuracy", **settings_of(options)}
    with tempfile.TemporaryDirectory() as folder:
        spark = session(options, Path(folder))
        for name in options.sets.split(","):
            result[name] = run_set(spark, SETS[name](), options)
        spark.stop()
    if options.json:
        print(json.dumps(result))


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sets", default=",".join(SETS))
    parser.add_argument("--folds", default="1,2,3,4,5")
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--methods", default=";".join(METHODS), help="names, with ; between them")
    parser.add_argument("--rank", type=int, default=MatchboxParams().rank)
    parser.add_argument("--samples", type=int, default=MatchboxParams().samples)
    parser.add_argument("--burn-in", type=int, default=MatchboxParams().burn_in)
    parser.add_argument("--thinning", type=int, default=MatchboxParams().thinning)
    parser.add_argument(
        "--validation", action="store_true", help="test on a tenth of each fold's training rows"
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", action="store_true", help="print one JSON object as last line")
    return parser.parse_args()


def settings_of(options: argparse.Namespace) -> dict[str, Any]:
    """What a reader of the JSON needs to repeat the run."""
    names = ("folds", "seeds", "rank", "samples", "burn_in", "thinning", "validation", "threads")
    return {name: getattr(options, name) for name in names}


def session(options: argparse.Namespace, folder: Path) -> SparkSession:
    """A local session."""
    os.environ["PYSPARK_PYTHON"] = sys.executable
    os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
    settings = {
        "spark.driver.memory": "1500m",
        "spark.sql.shuffle.partitions": str(options.threads),
        "spark.sql.session.timeZone": "UTC",
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.local.dir": str(folder / "spark"),
    }
    builder = SparkSession.builder.master(f"local[{options.threads}]")
    for key, value in settings.items():
        builder = builder.config(key, value)
    spark = builder.getOrCreate()
    spark.sparkContext.setLogLevel("ERROR")
    return spark


def run_set(spark: SparkSession, data: Ratings, options: argparse.Namespace) -> dict[str, Any]:
    """All methods on all folds of one set, a line each as soon as it is there."""
    figures = {name: Figures() for name in options.methods.split(";")}
    for number in map(int, options.folds.split(",")):
        whole, fold = (data.validation(number), 1) if options.validation else (data, number)
        train, test = (spark.createDataFrame(part).localCheckpoint() for part in whole.parts(fold))
        users, items = spark.createDataFrame(data.users), spark.createDataFrame(data.items)
        for seed in map(int, options.seeds.split(",")):
            given = Fold(train, test, users, items, data.stars, options, seed)
            for name, found in figures.items():
                measure(METHODS[name], given, found)
                shown = f"rmse {found.rmse[-1]:.4f}  mae {found.mae[-1]:.4f}"
                where = f"{data.name} fold {number} seed {seed}"
                print(f"{where}  {name:32s} {shown}  {found.seconds[-1]:6.1f} s", flush=True)
    means = {name: found.means() for name, found in figures.items()}
    for name, found in means.items():
        print(f"{data.name} mean  {name:32s}", *(f"{key} {value}" for key, value in found.items()))
    return means


def measure(method: Callable[[Fold], DataFrame], fold: Fold, found: Figures) -> None:
    """Fits, scores the test rows, and adds the figures."""
    begin = time.perf_counter()
    scored = method(fold).toArrow().to_pandas()
    found.seconds.append(time.perf_counter() - begin)
    error = scored["score"].clip(*fold.stars) - scored["rating"]
    if len(error) != fold.test.count() or error.isna().any():
        raise ValueError("some test rows have no score")
    found.rmse.append(float(np.sqrt(np.mean(error**2))))
    found.mae.append(float(np.mean(np.abs(error))))
    if "deviation" in scored:
        for name, value in calibration(scored).items():
            found.more.setdefault(name, []).append(value)


def calibration(scored: pd.DataFrame) -> dict[str, float]:
    """Share of ratings inside the 90 % interval: of all, and of the worst tenths by its width."""
    inside = (scored["score"] - scored["rating"]).abs() <= 1.645 * scored["deviation"]
    tenth = scored["deviation"].rank(method="first") * 10 // (len(scored) + 1)
    shares = inside.groupby(tenth).mean()
    return {
        "inside_90": float(inside.mean()),
        "inside_90_least": float(shares.min()),
        "inside_90_most": float(shares.max()),
    }


if __name__ == "__main__":
    main()
