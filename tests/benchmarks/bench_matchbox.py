"""Seconds a Gibbs sweep against an ALS iteration, and a whole distributed fit with its memory.

    python tests/benchmarks/bench_matchbox.py --json
    python tests/benchmarks/bench_matchbox.py --distributed --interactions 20000000 --rank 16

A sweep is the product's own, prior and link draws included, with features on both sides; the ALS
iteration is the product's explicit one with biases, solved by Cholesky on the same ratings, each
in turn after the other. The distributed fit goes through Spark, from frames to a model.
"""

import argparse
import json
import tempfile
import time
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from pyspark.sql import DataFrame, SparkSession
from tests.benchmarks.bench_als import session
from tests.benchmarks.marks import with_marks
from tests.benchmarks.memory import PeakMemory
from tests.benchmarks.planted import Planted, plant, sizes
from threadpoolctl import threadpool_limits

from matchlake.engine.csr import Csr, csr_from_pairs
from matchlake.recommender.als.in_memory import Fitted, fit_rows, initial_rows
from matchlake.recommender.als.params import AlsParams
from matchlake.recommender.matchbox.fit import fit_matchbox
from matchlake.recommender.matchbox.params import MatchboxParams
from matchlake.recommender.matchbox.sampler.gibbs import Gibbs
from matchlake.recommender.matchbox.sampler.history_features import (
    all_sources,
    history_rows,
    hstack,
    most_rated,
)
from matchlake.recommender.matchbox.sampler.link_matrix import Features, Source
from matchlake.recommender.matchbox.sampler.ratings import Ratings

CATEGORIES = (20, 7, 2)
"""Categories of a row's three features."""


def main() -> None:
    """Runs what the command line asks for."""
    options = arguments()
    data = plant(options.interactions, sizes(options.interactions))
    with PeakMemory() as memory:
        result = distributed(data, options) if options.distributed else sweeps(data, options)
    result["peak_mib"] = memory.peak
    shape = {"interactions": len(data.users), "users": data.shape[0], "items": data.shape[1]}
    result = {"bench": "matchbox", **shape, "rank": options.rank, **result}
    for name, value in result.items():
        print(f"{name:28} {value}")
    if options.json:
        print(json.dumps(with_marks("matchbox", result)))


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--interactions", type=int, default=4_430_000)
    parser.add_argument("--rank", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=4, help="sweeps and iterations, in turn")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--history", action="store_true", help="history features too")
    parser.add_argument("--distributed", action="store_true", help="a whole fit in blocks")
    parser.add_argument("--sweeps", type=int, default=60, help="of the distributed fit")
    parser.add_argument("--blocks", type=int)
    parser.add_argument("--driver-memory", default="4g")
    parser.add_argument("--json", action="store_true", help="print one JSON object as last line")
    return parser.parse_args()


def sweeps(data: Planted, options: argparse.Namespace) -> dict[str, Any]:
    """Median seconds of a sweep and of an iteration, the first of each left out."""
    places = np.stack([data.users, data.items], axis=1).astype(np.int32)
    ratings = Ratings(places, data.ratings, data.shape)
    features = []
    for side in (0, 1):
        rows, seen = one_hot(data.shape[side], side), np.zeros(0, np.int64)
        if options.history:
            seen = most_rated(ratings, 1 - side, MatchboxParams().max_history_features)
            rows = hstack(rows, history_rows(ratings, side, seen)) or rows
        given = tuple(Source(f"feature {n}", width) for n, width in enumerate(CATEGORIES))
        features.append(Features(rows, options.threads, all_sources(given, seen)))
    gibbs = Gibbs(
        ratings, tuple(features), MatchboxParams(rank=options.rank, threads=options.threads)
    )
    params = AlsParams(
        feedback="explicit",
        rank=options.rank,
        iterations=1,
        solver="cholesky",
        threads=options.threads,
    )
    centred = data.ratings - np.float32(data.ratings.mean())
    rows = csr_from_pairs(data.users, data.items, centred, data.shape)
    fitted = Fitted(*(initial_rows(side, np.arange(data.shape[side]), params) for side in (0, 1)))
    taken = []
    with threadpool_limits(1, "blas"):  # As Spark's tasks have it.
        for _ in range(options.rounds + 1):
            begin = time.perf_counter()
            gibbs.sweep()
            taken.append(time.perf_counter() - begin)
            fit_rows(rows, params, fitted)
    sweep, iteration = float(np.median(taken[1:])), float(np.median(fitted.seconds[1:]))
    return {
        "threads": options.threads,
        "history_features": options.history,
        "seconds_per_sweep": round(sweep, 3),
        "seconds_per_als_iteration": round(iteration, 3),
        "ratio": round(sweep / iteration, 3),
    }


def one_hot(rows: int, seed: int) -> Csr:
    """Three categories a row."""
    chance = np.random.default_rng(seed)
    starts = np.cumsum((0, *CATEGORIES[:-1]))
    columns = [s + chance.integers(0, n, rows) for s, n in zip(starts, CATEGORIES, strict=True)]
    places: npt.NDArray[np.int32] = np.stack(columns, axis=1).astype(np.int32).ravel()
    owners = np.repeat(np.arange(rows, dtype=np.int32), len(CATEGORIES))
    values = np.ones(len(places), np.float32)
    return csr_from_pairs(owners, places, values, (rows, sum(CATEGORIES)))


def distributed(data: Planted, options: argparse.Namespace) -> dict[str, Any]:
    """A fit in blocks, from Parquet to a model that predicts the held-out ratings."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        spark = session(options, folder)
        data.write(folder / "ratings", "rating")
        frame = spark.read.parquet(str(folder / "ratings"))
        users, items = (described(spark, data.shape[s], s) for s in (0, 1))
        params = MatchboxParams(
            rank=options.rank,
            samples=10,
            thinning=1,
            burn_in=options.sweeps - 10,
            history_features=options.history,
            execution="distributed",
            blocks=options.blocks,
        )
        begin = time.perf_counter()
        model = fit_matchbox(
            frame,
            user_features=users,
            item_features=items,
            params=params,
            checkpoint=checkpoint_to(spark, folder / "checkpoints"),
        )
        seconds = time.perf_counter() - begin
        held = data.validation
        pairs = spark.createDataFrame(
            pd.DataFrame({"user_id": held[0].astype(int), "item_id": held[1].astype(int)})
        )
        scored = model.score(pairs).toArrow().to_pandas()
        truth = dict(zip(zip(held[0], held[1], strict=True), held[2], strict=True))
        keys = zip(scored["user_id"], scored["item_id"], strict=True)
        error = scored["score"].to_numpy() - np.array([truth[key] for key in keys])
        spark.stop()
    return {
        "sweeps": options.sweeps,
        "history_features": options.history,
        "fit_seconds": round(seconds, 1),
        "seconds_per_sweep": round(seconds / options.sweeps, 2),
        "held_out_rmse": round(float(np.sqrt(np.mean(error**2))), 4),
    }


def described(spark: SparkSession, rows: int, side: int) -> DataFrame:
    """Three category columns for each id."""
    chance = np.random.default_rng(side)
    columns = {f"c{n}": chance.integers(0, size, rows) for n, size in enumerate(CATEGORIES)}
    frame = pd.DataFrame({name: values.astype(str) for name, values in columns.items()})
    frame.insert(0, ("user_id", "item_id")[side], np.arange(rows))
    return spark.createDataFrame(frame).localCheckpoint()


def checkpoint_to(spark: SparkSession, folder: Path) -> Any:
    """A cut that writes Parquet, as a job's does."""
    numbers = count()

    def checkpoint(frame: DataFrame) -> DataFrame:
        path = str(folder / str(next(numbers)))
        frame.write.option("compression", "none").parquet(path)
        return spark.read.parquet(path)

    return checkpoint


if __name__ == "__main__":
    main()
