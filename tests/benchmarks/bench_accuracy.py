"""RMSE and MAE of predicted ratings, fold by fold, of the product's models and of its peers.

    python tests/benchmarks/bench_accuracy.py --out figures --json

Sets: MovieLens-100K with the published folds u1..u5, ml-latest-small and InstEval in five random
folds, and each of them in folds of whole users and of whole items; all of them take two to four
hours of one core. The test rows of a fold never reach a fit, its features or its history. RMSE and
MAE come from one vector of scores, clipped once.

How things were chosen: rank, samples, chains, noise, features with `--validation`, which sees the
training rows of a fold only and tests on a part of them; peers as their authors set them. With
`--out` each figure is kept as soon as it is there, in a file for each set, and not measured again:
several processes can take sets each, and one with all sets then prints what they found.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pyspark.sql import DataFrame, SparkSession
from tests.benchmarks.accuracy_data import Ratings, insteval, ml_100k, ml_latest_small
from tests.benchmarks.accuracy_peers import PEERS, Given, Peer
from tests.benchmarks.marks import with_marks

from matchlake.recommender.als.fit import fit_als
from matchlake.recommender.als.params import AlsParams
from matchlake.recommender.baselines.bias import fit_bias
from matchlake.recommender.matchbox.fit import fit_matchbox
from matchlake.recommender.matchbox.params import MatchboxParams

WARM: dict[str, Callable[[], Ratings]] = {
    "ml-100k": ml_100k,
    "ml-latest-small": ml_latest_small,
    "InstEval": insteval,
}
COLD = {
    f"{name} cold {side}s": (load, f"{side}_id")
    for name, load in WARM.items()
    for side in ("user", "item")
}
ALS = {"feedback": "explicit", "rank": 16, "iterations": 15, "regularization": 0.12, "nu": 1.0}

Figures = dict[str, float]


@dataclass(frozen=True)
class Fold:
    """One fold as frames, and what a method needs to know of the run."""

    train: DataFrame
    test: DataFrame
    users: DataFrame | None
    items: DataFrame | None
    given: Given
    options: argparse.Namespace
    seed: int


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
                "chains": options.chains,
                "noise_variance": options.noise_variance,
                **choices,
            }
        )
        users, items = (fold.users, fold.items) if features else (None, None)
        model = fit_matchbox(fold.train, user_features=users, item_features=items, params=params)
        return model.score(fold.test)

    return run


def spark_als(fold: Fold) -> DataFrame:
    """MLlib's ALS with its defaults, a NaN answered by the mean."""
    from pyspark.ml.recommendation import ALS as SparkAls  # noqa: PLC0415, N811

    spark = fold.train.sparkSession
    places = [
        {key: n for n, key in enumerate(sorted({*fold.given.train[c], *fold.given.test[c]}))}
        for c in ("user_id", "item_id")
    ]

    def numbered(part: pd.DataFrame) -> DataFrame:
        columns = {
            "user": part["user_id"].map(places[0]),
            "item": part["item_id"].map(places[1]),
            "rating": part["rating"],
        }
        return spark.createDataFrame(pd.DataFrame(columns))

    als = SparkAls(userCol="user", itemCol="item", ratingCol="rating", seed=fold.seed)
    scored = als.fit(numbered(fold.given.train)).transform(numbered(fold.given.test))
    mean = float(fold.given.train["rating"].mean())
    return scored.na.fill(mean, ["prediction"]).withColumnRenamed("prediction", "score")


def peer(score: Peer) -> Callable[[Fold], pd.DataFrame]:
    """A peer outside Spark."""

    def run(fold: Fold) -> pd.DataFrame:
        given = fold.given._replace(seed=fold.seed)
        return fold.given.test.assign(score=score(given))

    return run


METHODS: dict[str, Callable[[Fold], DataFrame | pd.DataFrame]] = {
    "bias": bias,
    "als": als,
    "plain": matchbox(history_features=False),
    "features": matchbox(features=True, history_features=False),
    "history": matchbox(),
    "features+history": matchbox(features=True),
    "features+history, ordinal": matchbox(features=True, ordinal=True),
    "features+history+dates": matchbox(features=True, day_effects=True),
    "features+history+dates, ordinal": matchbox(features=True, day_effects=True, ordinal=True),
    "Spark ALS": spark_als,
    **{name: peer(score) for name, score in PEERS.items()},
}


OTHERS = ["Spark ALS", "myFM", "myFM, ordered probit", "Surprise SVD++", "LensKit BiasedMF"]
KNOWN = ["bias", "als", "features+history", *OTHERS]
COLD_METHODS = ["bias", "features", "feature means", "myFM", "myFM, ordered probit"]
DATED = "features+history+dates, ordinal"
SHORT = {"samples": 100, "thinning": 1}
FEW = {"rank": 10, "noise_variance": "global"}
CHOSEN: dict[str, dict[str, Any]] = {
    "ml-100k": {"methods": [*KNOWN, "plain", "features", "history", DATED]},
    "ml-latest-small": {"methods": KNOWN},
    "InstEval": {"methods": KNOWN, "chains": 4, "samples": 400, "thinning": 1, **FEW},
    **{
        name: {"methods": COLD_METHODS, **SHORT, **(FEW if load is insteval else {})}
        for name, (load, _) in COLD.items()
    },
}
"""What a set is measured with where the command line says nothing; the rest is the default."""

THRICE = {"ml-100k": ["plain", "features+history", DATED]}
"""The methods of a set that have three seeds where the command line says nothing."""

SETTINGS = ("rank", "samples", "burn_in", "thinning", "chains", "noise_variance")


def main() -> None:
    """Runs the benchmark that the command line describes."""
    options = arguments()
    names = options.sets.split(",")
    chosen = {name: settings(name, options) for name in names}
    notes = {}
    with tempfile.TemporaryDirectory() as folder:
        spark = session(options, Path(folder))
        for name in names:
            notes[name] = Notes(name, options.out)  # now: another process may have measured it
            run_set(spark, load_set(name), notes[name], chosen[name])
        spark.stop()
    result = {name: notes[name].means(chosen[name]) for name in names}
    if options.json:
        said = {name: {k: getattr(chosen[name], k) for k in SETTINGS} for name in names}
        shared = {key: getattr(options, key) for key in ("folds", "seeds", "threads", "validation")}
        figures = {"bench": "accuracy", **shared, "settings": said, **result}
        print(json.dumps(with_marks("accuracy", figures)))


def load_set(name: str) -> Ratings:
    """A set by its name."""
    if name in WARM:
        return WARM[name]()
    load, key = COLD[name]
    return load().cold(key)


def arguments() -> argparse.Namespace:
    """The command line; what is None there is the set's own."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sets", default=",".join(CHOSEN), help="with commas between; default all")
    parser.add_argument("--folds", default="1,2,3,4,5")
    parser.add_argument("--seeds", help="default 0, and three for what the marks are on")
    parser.add_argument("--methods", help=f"names, with ; between them: {'; '.join(METHODS)}")
    for name in SETTINGS[:-1]:
        parser.add_argument(f"--{name.replace('_', '-')}", type=int)
    parser.add_argument("--noise-variance", choices=("per_user", "global"))
    parser.add_argument(
        "--validation", action="store_true", help="test on a tenth of each fold's training rows"
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, help="a folder that keeps figures from run to run")
    parser.add_argument("--json", action="store_true", help="print one JSON object as last line")
    options = parser.parse_args()
    if unknown := {*options.sets.split(",")} - {*CHOSEN}:
        parser.error(f"no such set: {', '.join(sorted(unknown))}; there are {', '.join(CHOSEN)}")
    if unknown := {*(options.methods or "bias").split(";")} - {*METHODS}:
        parser.error(f"no such method: {'; '.join(sorted(unknown))}; see --help")
    return options


def settings(name: str, options: argparse.Namespace) -> argparse.Namespace:
    """The options of one set: the command line's, else its own, else the product's defaults."""
    given = {key: value for key, value in vars(options).items() if value is not None}
    defaults = MatchboxParams().model_dump(include=set(SETTINGS)) | {"seeds": None}
    methods = options.methods.split(";") if options.methods else CHOSEN[name]["methods"]
    return argparse.Namespace(**defaults | CHOSEN[name] | given | {"methods": methods})


def seeds_of(name: str, method: str, options: argparse.Namespace) -> list[str]:
    """The seeds of a method."""
    own = "0,1,2" if method in THRICE.get(name, []) else "0"
    return str(options.seeds or own).split(",")


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


class Notes:
    """A set's figures by method, fold and seed, kept in a file where there is a folder."""

    def __init__(self, name: str, folder: Path | None) -> None:
        self._name = name
        self._path = folder / f"{name}.json" if folder else None
        known = self._path is not None and self._path.exists()
        self._found: dict[str, Figures] = (
            json.loads(self._path.read_text()) if self._path and known else {}
        )

    def __contains__(self, key: str) -> bool:
        return key in self._found

    def add(self, key: str, figures: Figures) -> None:
        """Keeps the figures of one measurement."""
        self._found[key] = figures
        if self._path is not None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._path.write_text(json.dumps(self._found, indent=1))

    def means(self, options: argparse.Namespace) -> dict[str, Figures]:
        """Each method's means over the folds and seeds that are there, printed too."""
        found: dict[str, Figures] = {}
        for method in options.methods:
            rows = [
                self._found[key]
                for fold in options.folds.split(",")
                for seed in seeds_of(self._name, method, options)
                if (key := key_of(self._name, method, fold, seed)) in self._found
            ]
            if rows:
                means = {k: round(float(np.mean([row[k] for row in rows])), 5) for k in rows[0]}
                found[method] = means | {"runs": len(rows)}
                shown = (f"{k} {v}" for k, v in found[method].items())
                print(f"{self._name} mean  {method:32s}", *shown)
        return found


def key_of(*parts: object) -> str:
    """The name of a measurement."""
    return " | ".join(map(str, parts))


def run_set(spark: SparkSession, data: Ratings, notes: Notes, options: argparse.Namespace) -> None:
    """All methods on all folds of one set, a line each as soon as it is there."""
    for number in options.folds.split(","):
        wanted = [
            (seed, method, key)
            for method in options.methods
            for seed in seeds_of(data.name, method, options)
            if (key := key_of(data.name, method, number, seed)) not in notes
        ]
        if not wanted:
            continue
        whole, fold = (
            (data.validation(int(number)), 1) if options.validation else (data, int(number))
        )
        given = frames(spark, whole, fold, options)
        for seed, method, key in wanted:
            figures = measure(METHODS[method], given(int(seed)), data.clip_range)
            notes.add(key, figures)
            shown = f"rmse {figures['rmse']:.4f}  mae {figures['mae']:.4f}"
            print(f"{key:60s} {shown}  {figures['seconds']:6.1f} s", flush=True)


def frames(
    spark: SparkSession, data: Ratings, fold: int, options: argparse.Namespace
) -> Callable[[int], Fold]:
    """A fold's frames, and with a seed the fold."""
    parts = data.parts(fold)
    train, test = (spark.createDataFrame(part).localCheckpoint() for part in parts)
    users, items = (
        None if side is None else spark.createDataFrame(side) for side in (data.users, data.items)
    )
    sweeps = options.chains * options.burn_in + options.samples * options.thinning
    given = Given(*parts, data.users, data.items, sweeps, options.burn_in, 0)
    return lambda seed: Fold(train, test, users, items, given, options, seed)


def measure(
    method: Callable[[Fold], DataFrame | pd.DataFrame], fold: Fold, clip_range: tuple[float, float]
) -> Figures:
    """Fits, scores the test rows, and compares."""
    begin = time.perf_counter()
    answer = method(fold)
    scored = answer if isinstance(answer, pd.DataFrame) else answer.toArrow().to_pandas()
    seconds = time.perf_counter() - begin
    error = scored["score"].clip(*clip_range) - scored["rating"]
    if len(error) != len(fold.given.test) or error.isna().any():
        raise ValueError("some test rows have no score")
    found = {"rmse": float(np.sqrt(np.mean(error**2))), "mae": float(np.mean(np.abs(error)))}
    found["seconds"] = seconds
    return found | (calibration(scored) if "rating_std" in scored else {})


def calibration(scored: pd.DataFrame) -> Figures:
    """The 90 % interval: its share of ratings, of all and of the tenths by its width; log density.

    `log_density_gain` is over that of one constant width about the same scores, the best one.
    """
    error, deviation = scored["score"] - scored["rating"], scored["rating_std"]
    inside = error.abs() <= 1.645 * deviation
    tenth = deviation.rank(method="first") * 10 // (len(scored) + 1)
    shares = inside.groupby(tenth).mean()
    density = -np.log(deviation) - 0.5 * (error / deviation) ** 2
    constant = -np.log(error.std(ddof=0)) - 0.5
    return {
        "interval_coverage_90": float(inside.mean()),
        "interval_coverage_90_min": float(shares.min()),
        "interval_coverage_90_max": float(shares.max()),
        "log_density_gain": float(density.mean() - constant),
    }


if __name__ == "__main__":
    main()
