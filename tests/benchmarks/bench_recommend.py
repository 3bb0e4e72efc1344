"""Seconds for the top-k of all users without what they have seen, against peers, same factors.

    python -m tests.benchmarks.bench_recommend --users 60000 --items 12000 --peers implicit,mllib

Every side gets the same random factors and the same seen pairs. The engine is timed from frames to
the last row of the answer, Spark's start of the task included; `implicit` inside its one call.
"""

import argparse
import json
import os
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.sql import DataFrame, SparkSession
from tests.benchmarks.bench_als import session
from tests.benchmarks.memory import PeakMemory

from matchlake.recommender.model import FactorModel
from matchlake.recommender.params import AlsParams
from matchlake.recommender.topk import lists_of, top_k

Floats = npt.NDArray[np.float32]
Pairs = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]


def main() -> None:
    """Runs the benchmark that the command line describes."""
    options = arguments()
    os.sched_setaffinity(0, set(range(options.threads)))
    rng = np.random.default_rng(0)
    sides = [
        (rng.normal(size=(size, options.rank)) / options.rank**0.5).astype(np.float32)
        for size in (options.users, options.items)
    ]
    seen = seen_pairs(rng, options)
    with tempfile.TemporaryDirectory() as folder, PeakMemory() as memory:
        spark = session(options, Path(folder))
        model, history = write(spark, Path(folder), sides, seen)
        sample = model.recommend_items(model.users.limit(2000), options.k)
        sample.write.format("noop").mode("overwrite").save()  # Starts the workers.
        answer = model.recommend_items(None, options.k, exclude_seen=history)
        seconds = {"matchlake": timed(answer)}
        peak = memory.peak
        same = check(answer, sides, seen, options) if options.check else None
        if "mllib" in options.peers:
            seconds["mllib"] = mllib(spark, Path(folder), sides, options.k)
        spark.stop()
    if "implicit" in options.peers:
        seconds["implicit"] = implicit(sides, seen, options)
    ours = seconds["matchlake"]
    result: dict[str, Any] = {
        "bench": "recommend",
        "users": options.users,
        "items": options.items,
        "rank": options.rank,
        "k": options.k,
        "seen": len(seen[0]),
        "longest_history": int(np.bincount(seen[0]).max()),
        "cores": options.threads,
        "seconds": {name: round(value, 3) for name, value in seconds.items()},
        "ratio": {n: round(ours / value, 4) for n, value in seconds.items() if n != "matchlake"},
        "lists_as_numpy": same,
        "peak_mib": peak,
        "versions": {name: version(name) for name in ("numpy", "numba", "pyspark")},
    }
    print(
        f"top {options.k} of {options.items:,} items for {options.users:,} users, peak {peak} MiB"
    )
    for name, value in seconds.items():
        print(f"{name:<12}{value:>10.2f} s{result['ratio'].get(name, ''):>10}")
    if options.json:
        print(json.dumps(result))


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--users", type=int, default=60_000)
    parser.add_argument("--items", type=int, default=12_000)
    parser.add_argument("--rank", type=int, default=64)
    parser.add_argument("--k", type=int, default=100)
    parser.add_argument("--seen", type=int, default=4_430_000)
    parser.add_argument("--heavy", type=int, default=0, help="items that user 0 has seen")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--driver-memory", default="3g")
    parser.add_argument("--peers", default="", help="some of implicit,mllib")
    parser.add_argument("--check", action="store_true", help="compare 500 lists with a full sort")
    parser.add_argument("--json", action="store_true", help="print one JSON object as last line")
    return parser.parse_args()


def seen_pairs(rng: np.random.Generator, options: argparse.Namespace) -> Pairs:
    """Random histories, and one long one where asked for."""
    keys = rng.integers(0, options.users * options.items, options.seen, dtype=np.int64)
    keys = np.unique(np.concatenate([keys, np.arange(options.heavy)]))
    return keys // options.items, keys % options.items


def write(
    spark: SparkSession, folder: Path, sides: list[Floats], seen: Pairs
) -> tuple[FactorModel, DataFrame]:
    """The model and the history as frames over Parquet."""
    frames = []
    for name, factors in zip(("user", "item"), sides, strict=True):
        size, rank = factors.shape
        bounds = pa.array(np.arange(0, (size + 1) * rank, rank, dtype=np.int32))
        table = {
            f"{name}_id": np.arange(size),
            f"{name}_idx": np.arange(size),
            "factors": pa.ListArray.from_arrays(bounds, factors.ravel()),
            "bias": np.zeros(size, np.float32),
            "observed": np.ones(size, np.int64),
        }
        (folder / name).mkdir()
        for part in range(4):
            rows = pa.table(table).slice(
                part * size // 4, (part + 1) * size // 4 - part * size // 4
            )
            pq.write_table(rows, folder / name / f"{part}.parquet")
        frames.append(spark.read.parquet(str(folder / name)))
    (folder / "seen").mkdir()
    for part, ids in enumerate(np.array_split(np.arange(len(seen[0])), 4)):
        rows = pa.table({"user_id": seen[0][ids], "item_id": seen[1][ids]})
        pq.write_table(rows, folder / "seen" / f"{part}.parquet")
    params = AlsParams(rank=sides[0].shape[1])
    return FactorModel(frames[0], frames[1], 0.0, params), spark.read.parquet(str(folder / "seen"))


def timed(frame: DataFrame) -> float:
    """Seconds to compute every row of `frame`."""
    begin = time.perf_counter()
    frame.write.format("noop").mode("overwrite").save()
    return time.perf_counter() - begin


def check(answer: DataFrame, sides: list[Floats], seen: Pairs, options: argparse.Namespace) -> bool:
    """Whether the lists of the first 500 users have the scores of NumPy's."""
    few = 500
    chosen = seen[0] < few
    lists = lists_of(seen[0][chosen], seen[1][chosen], few, options.items)
    best = top_k(sides[0][:few], sides[1], options.k, lists)
    table = answer.where(f"user_id < {few}").orderBy("user_id", "rank").toArrow()
    scores = np.asarray(table["score"])
    expected = best.scores[(best.places >= 0) & (best.scores > -np.inf)]
    return len(scores) == len(expected) and bool(np.allclose(scores, expected, atol=1e-5))


def implicit(sides: list[Floats], seen: Pairs, options: argparse.Namespace) -> float:
    """`implicit`'s recommend for all users, seen items filtered."""
    from implicit.cpu.als import AlternatingLeastSquares  # noqa: PLC0415
    from scipy.sparse import csr_matrix  # noqa: PLC0415

    shape = options.users, options.items
    history = csr_matrix((np.ones(len(seen[0]), np.float32), seen), shape)
    model = AlternatingLeastSquares(factors=options.rank, num_threads=options.threads)
    model.user_factors, model.item_factors = sides
    everyone = np.arange(options.users)
    model.recommend(everyone[:100], history[:100], N=options.k)
    begin = time.perf_counter()
    model.recommend(everyone, history, N=options.k, filter_already_liked_items=True)
    return time.perf_counter() - begin


def mllib(spark: SparkSession, folder: Path, sides: list[Floats], k: int) -> float:
    """Spark's recommendForAllUsers, which excludes nothing, on the same factors.

    The factors get in by way of a saved model, the only door that MLlib has.
    """
    from pyspark.ml.recommendation import ALS, ALSModel  # noqa: PLC0415
    from pyspark.sql import functions as F  # noqa: PLC0415

    tiny = spark.createDataFrame([(0, 0, 1.0), (1, 1, 1.0)], "user int, item int, rating double")
    path = str(folder / "mllib")
    ALS(rank=sides[0].shape[1], maxIter=1).fit(tiny).save(path)
    for name in ("user", "item"):
        rows = spark.read.parquet(str(folder / name))
        rows = rows.select(
            F.col(f"{name}_id").cast("int").alias("id"), F.col("factors").alias("features")
        )
        rows.write.mode("overwrite").parquet(f"{path}/{name}Factors")
    return timed(ALSModel.load(path).recommendForAllUsers(k))


if __name__ == "__main__":
    main()
