"""Seconds for ranked lists of all users against the peers, from the same factors on the same cores.

    python tests/benchmarks/bench_recommend.py --users 60000 --items 12000 --peers implicit,mllib

Factors come from a short fit to planted interactions, which are also what users have seen. The
engine and MLlib read both from Parquet and write to nowhere; `implicit` has them in memory already.
MLlib's `recommendForAllUsers` leaves nothing out: `matchlake_all` does the same work, and the
ratio `mllib_all` is that of the two. Sides go in turn for some rounds, of which the medians count.
One user can have seen many items (`--heavy`), which is where 'k + the longest history' runs out of
memory.
"""

import argparse
import json
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.sql import DataFrame, SparkSession
from tests.benchmarks.marks import with_marks
from tests.benchmarks.memory import PeakMemory
from tests.benchmarks.planted import Planted, planted
from tests.benchmarks.runs import pin, session, versions

from matchlake.engine.csr import csr_from_pairs
from matchlake.recommender.als.in_memory import fit_rows
from matchlake.recommender.als.model import FactorModel
from matchlake.recommender.als.params import AlsParams

CHECKED = 1000
"""Users whose lists are compared with those of `implicit`."""

Floats = npt.NDArray[np.float32]
Pairs = tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]


@dataclass(frozen=True)
class Setup:
    """Factors, and the pairs that users have seen; as arrays and as frames over Parquet."""

    users: Floats = field(repr=False)
    items: Floats = field(repr=False)
    seen: Pairs = field(repr=False)
    model: FactorModel
    seen_frame: DataFrame
    k: int
    threads: int


def main() -> None:
    """Runs the benchmark that the command line describes."""
    options = arguments()
    pin(options.threads)
    data = planted(options.interactions, (options.users, options.items), options.keep)
    users, items = factors(data, options)
    seen = with_heavy(data, options.heavy)
    held = len(seen[0])
    del data
    with tempfile.TemporaryDirectory() as folder, PeakMemory() as memory:
        spark = session(options, Path(folder))
        setup = make_setup(spark, Path(folder), (users, items), seen, options)
        each: dict[str, list[float]] = defaultdict(list)
        warm(setup)
        memory.restart()
        found = {"matchlake": lists_of_some(setup)} if options.peers else {}
        peers = [name for name in options.peers.split(",") if name]
        for number in range(options.rounds):
            each["matchlake"].append(timed(lambda: nowhere(recommended(setup))))
            if not number:
                peak = memory.peak
            if "mllib" in peers:
                every = setup.model.recommend_items(None, setup.k)
                each["matchlake_all"].append(timed(partial(nowhere, every)))
            for name in peers:
                seconds, found[name] = PEERS[name](setup)
                each[name].append(seconds)
        spark.stop()
    result = describe(options, each, found)
    show(result | {"interactions_seen": held, "before_mib": memory.first, "peak_mib": peak})
    if options.json:
        more = {"interactions_seen": held, "before_mib": memory.first, "peak_mib": peak}
        print(json.dumps(with_marks("recommend", result | more)))


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--users", type=int, default=60_000)
    parser.add_argument("--items", type=int, default=12_000)
    parser.add_argument("--interactions", type=int, default=4_430_000, help="pairs that are seen")
    parser.add_argument("--heavy", type=int, default=0, help="items that one user has seen besides")
    parser.add_argument("--rank", type=int, default=64)
    parser.add_argument("--k", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3, help="of every side, in turn")
    parser.add_argument("--threads", type=int, default=2, help="cores all sides are pinned to")
    parser.add_argument("--keep", type=Path, help="folder to keep planted data in, for other runs")
    parser.add_argument("--driver-memory", default="3g")
    parser.add_argument("--peers", default="", help=f"some of {','.join(PEERS)}")
    parser.add_argument("--json", action="store_true", help="print one JSON object as last line")
    return parser.parse_args()


def factors(data: Planted, options: argparse.Namespace) -> tuple[Floats, Floats]:
    """Factors of both sides after two iterations."""
    rows = csr_from_pairs(data.users, data.items, data.strengths, data.shape)
    numbers = {"alpha": 1.0, "unobserved_weight": 0.1, "regularization": 0.05}
    params = AlsParams(rank=options.rank, iterations=2, threads=options.threads, **numbers)
    fitted = fit_rows(rows, params)
    return fitted.users[:, : options.rank].copy(), fitted.items[:, : options.rank].copy()


def with_heavy(data: Planted, heavy: int) -> Pairs:
    """The planted pairs, with `heavy` more items for user 0."""
    more = np.random.default_rng(2).permutation(data.shape[1])[:heavy].astype(np.int32)
    keys = np.concatenate([data.users.astype(np.int64) * data.shape[1] + data.items, more])
    keys = np.unique(keys)
    return (keys // data.shape[1]).astype(np.int32), (keys % data.shape[1]).astype(np.int32)


def make_setup(
    spark: SparkSession,
    folder: Path,
    sides: tuple[Floats, Floats],
    seen: Pairs,
    options: argparse.Namespace,
) -> Setup:
    """Writes everything to Parquet and opens it."""
    frames = []
    for name, matrix in zip(("user", "item"), sides, strict=True):
        size, rank = matrix.shape
        bounds = pa.array(np.arange(0, (size + 1) * rank, rank, dtype=np.int32))
        table = pa.table(
            {
                f"{name}_id": np.arange(size),
                f"{name}_idx": np.arange(size),
                "factors": pa.ListArray.from_arrays(bounds, matrix.ravel()),
                "bias": np.zeros(size, np.float32),
                "n_interactions": np.ones(size, np.int64),
            }
        )
        frames.append(write_parts(spark, folder / name, table))
    pairs = {"user_id": seen[0].astype(np.int64), "item_id": seen[1].astype(np.int64)}
    seen_frame = write_parts(spark, folder / "seen", pa.table(pairs))
    model = FactorModel(frames[0], frames[1], 0.0, AlsParams(rank=options.rank))
    return Setup(*sides, seen, model, seen_frame, options.k, options.threads)


def write_parts(spark: SparkSession, folder: Path, table: pa.Table, parts: int = 4) -> DataFrame:
    """`table` as a frame over a few Parquet files."""
    folder.mkdir()
    step = -(-table.num_rows // parts)
    for part in range(parts):
        pq.write_table(table.slice(part * step, step), folder / f"part-{part}.parquet")
    return spark.read.parquet(str(folder))


def recommended(setup: Setup, users: DataFrame | None = None) -> DataFrame:
    """The lists, seen items left out."""
    return setup.model.recommend_items(users, setup.k, exclude_seen=setup.seen_frame)


def warm(setup: Setup) -> None:
    """Starts the workers and loads the compiled code."""
    few = setup.model.user_factors.where("user_idx < 200").select("user_id")
    nowhere(recommended(setup, few))


def nowhere(frame: DataFrame) -> None:
    """Computes all rows."""
    frame.write.format("noop").mode("overwrite").save()


def timed(work: Callable[[], Any]) -> float:
    """Seconds that `work` takes."""
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def lists_of_some(setup: Setup) -> npt.NDArray[np.int64]:
    """The engine's lists of the first users, shape (users, k)."""
    few = setup.model.user_factors.where(f"user_idx < {CHECKED}").select("user_id")
    table = recommended(setup, few).orderBy("user_id", "rank").toArrow()
    lists = np.full((min(CHECKED, len(setup.users)), setup.k), -1)
    places = np.asarray(table["user_id"]), np.asarray(table["rank"]) - 1
    lists[places] = np.asarray(table["item_id"])
    return lists


def implicit(setup: Setup) -> tuple[float, npt.NDArray[np.int64]]:
    """`implicit`'s recommend for all users in batches, as its documentation does it."""
    from implicit.cpu.als import AlternatingLeastSquares  # noqa: PLC0415
    from scipy.sparse import csr_matrix  # noqa: PLC0415

    shape = len(setup.users), len(setup.items)
    liked = csr_matrix((np.ones(len(setup.seen[0]), np.float32), setup.seen), shape)
    model = AlternatingLeastSquares(factors=setup.users.shape[1], num_threads=setup.threads)
    model.user_factors, model.item_factors = setup.users, setup.items
    parts = []

    def work() -> None:
        for start in range(0, shape[0], 1000):
            users = np.arange(start, min(start + 1000, shape[0]))
            parts.append(model.recommend(users, liked[users], N=setup.k)[0])

    seconds = timed(work)
    return seconds, np.vstack(parts)[:CHECKED]


def mllib(setup: Setup) -> tuple[float, None]:
    """Spark's own recommendForAllUsers, on a model put together from the same factors."""
    from pyspark.ml.recommendation import ALSModel  # noqa: PLC0415

    sides = []
    for frame, key in (
        (setup.model.user_factors, "user_id"),
        (setup.model.item_factors, "item_id"),
    ):
        sides.append(frame.selectExpr(f"CAST({key} AS int) AS id", "factors AS features"))
    rank = setup.users.shape[1]
    jvm = setup.seen_frame.sparkSession._jvm
    java = jvm.org.apache.spark.ml.recommendation.ALSModel("als", rank, *[s._jdf for s in sides])
    model = ALSModel(java.setUserCol("user_id").setItemCol("item_id"))
    return timed(lambda: nowhere(model.recommendForAllUsers(setup.k))), None


PEERS: dict[str, Callable[[Setup], tuple[float, npt.NDArray[np.int64] | None]]] = {
    "implicit": implicit,
    "mllib": mllib,
}


def describe(
    options: argparse.Namespace,
    each: Mapping[str, list[float]],
    found: dict[str, npt.NDArray[np.int64] | None],
) -> dict[str, Any]:
    """All figures of a run."""
    seconds = {name: median(rounds) for name, rounds in each.items()}
    ours = seconds["matchlake"]
    ratios = {name: ours / seconds[name] for name in seconds if name in PEERS}
    if "matchlake_all" in seconds:
        ratios["mllib_all"] = seconds["matchlake_all"] / seconds["mllib"]
    result: dict[str, Any] = {
        "bench": "recommend",
        "users": options.users,
        "items": options.items,
        "rank": options.rank,
        "k": options.k,
        "heaviest_history": options.heavy,
        "cores": options.threads,
        "seconds": {name: round(value, 3) for name, value in seconds.items()},
        "rounds": {name: [round(value, 3) for value in rounds] for name, rounds in each.items()},
        "ratio": {name: round(value, 4) for name, value in ratios.items()},
        "versions": versions("implicit" if "implicit" in seconds else ""),
    }
    theirs = found.get("implicit")
    if theirs is not None:
        mine = found["matchlake"]
        pairs = zip(mine, theirs, strict=True)
        shared = [len(np.intersect1d(a, b)) / options.k for a, b in pairs]
        result["quality"] = {"share_of_lists_in_common_with_implicit": round(np.mean(shared), 5)}
    return result


def show(result: dict[str, Any]) -> None:
    """The figures as a table."""
    print(
        f"top {result['k']} for {result['users']:,} users x {result['items']:,} items, rank "
        f"{result['rank']}, {result['interactions_seen']:,} seen (of one user "
        f"{result['heaviest_history']:,} more), {result['cores']} cores; "
        f"{result['before_mib']} MiB before, peak {result['peak_mib']} MiB"
    )
    print(f"{'side':<15}{'seconds':>10}{'ours/theirs':>13}")
    for name, seconds in result["seconds"].items():
        print(f"{name:<15}{seconds:>10}{result['ratio'].get(name, ''):>13}")
    if "mllib_all" in result["ratio"]:
        print(f"matchlake_all to mllib, both leaving nothing out: {result['ratio']['mllib_all']}")


if __name__ == "__main__":
    main()
