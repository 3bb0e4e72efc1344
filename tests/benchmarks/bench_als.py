"""Seconds an iteration of `fit_als` against its peers, on the same data, cores and threads.

    python tests/benchmarks/bench_als.py --interactions 4430000 --rank 64 --peers implicit,mllib

Compilation is timed apart, before anything else. Every side starts from the same Spark frame over
the same Parquet files; quality is measured on the same held-out pairs by the same code. Sides go in
turn for some rounds, of which the medians count; MLlib, which takes minutes, goes once.
"""

import argparse
import json
import logging
import tempfile
import time
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from pyspark.sql import SparkSession
from tests.benchmarks.marks import with_marks
from tests.benchmarks.memory import PeakMemory
from tests.benchmarks.peers import EXPLICIT_RIDGE, IMPLICIT_RIDGE, IRSPACK, PEERS, Outcome, Task
from tests.benchmarks.planted import Planted, planted, sizes
from tests.benchmarks.quality import hu_koren_loss, quality
from tests.benchmarks.runs import pin, session, versions

from matchlake.engine.csr import csr_from_pairs
from matchlake.io.fit_checkpoints import FitCheckpoints
from matchlake.recommender.als.fit import fit_als
from matchlake.recommender.als.in_memory import Fitted, fit_rows, initial_rows
from matchlake.recommender.als.params import AlsParams
from matchlake.recommender.progress import Progress


def main() -> None:
    """Runs the benchmark that the command line describes."""
    options = arguments()
    pin(options.threads)
    params = parameters(options)
    compiling = compile_kernels(params)
    shape = (options.users, options.items) if options.users else sizes(options.interactions)
    data = planted(options.interactions, shape, options.keep)
    with tempfile.TemporaryDirectory() as folder, PeakMemory() as memory:
        spark = session(options, Path(folder))
        task = task_of(spark, data, options, Path(folder) / "data")
        peers = [name for name in options.peers.split(",") if name]
        found: dict[str, list[Outcome]] = defaultdict(list)
        memory.restart()
        for number in range(options.rounds):
            found["matchlake"].append(engine(task, params, Path(folder) / f"cuts-{number}"))
            tell("matchlake", found["matchlake"][-1])
            if not number:
                peak, before = memory.peak, memory.first
            for name in peers:
                if name != "mllib" or not number:
                    found[name].append(PEERS[name](task))
                    tell(name, found[name][-1])
        outcomes = {name: together(each) for name, each in found.items()}
        smaller = None
        if options.smaller:
            less = planted(options.smaller, sizes(options.smaller), options.keep)
            task = task_of(spark, less, options, Path(folder) / "less")
            smaller = engine(task, params, Path(folder) / "less-checkpoints").iteration / len(
                less.users
            )
        spark.stop()
    result = describe(options, data, outcomes)
    result |= {"compile_seconds": round(compiling, 2), "before_mib": before, "peak_mib": peak}
    if smaller:
        result["nanoseconds_per_interaction_smaller"] = round(smaller * 1e9, 2)
        own = outcomes["matchlake"].iteration / len(data.users)
        result["ratio"][f"itself at {options.smaller}"] = round(own / smaller, 4)
    if options.race:
        result[f"race_to_{options.race}"] = race(data, params, outcomes[options.race])
    show(result)
    if options.json:
        print(json.dumps(with_marks("als", result)))


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--interactions", type=int, default=4_430_000)
    parser.add_argument("--users", type=int, help="default: by the number of interactions")
    parser.add_argument("--items", type=int)
    parser.add_argument("--rank", type=int, default=64)
    parser.add_argument("--iterations", type=int, default=15)
    parser.add_argument("--explicit", action="store_true")
    parser.add_argument(
        "--objective",
        choices=("hu_koren", "ials"),
        default="hu_koren",
        help="implicit: the objective of implicit and MLlib, or that of irspack",
    )
    parser.add_argument("--solver", default="auto")
    parser.add_argument(
        "--execution", choices=("single_task", "distributed"), default="single_task"
    )
    parser.add_argument("--blocks", type=int)
    parser.add_argument("--rounds", type=int, default=3, help="of every side, in turn")
    parser.add_argument("--threads", type=int, default=2, help="cores all sides are pinned to")
    parser.add_argument("--smaller", type=int, help="cost an interaction against that many, too")
    parser.add_argument("--keep", type=Path, help="folder to keep planted data in, for other runs")
    parser.add_argument("--driver-memory", default="3g")
    parser.add_argument("--peers", default="", help=f"some of {','.join(PEERS)}")
    parser.add_argument(
        "--race",
        metavar="PEER",
        help="seconds to the objective of implicit, or to the RMSE of an explicit peer, too",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object as last line")
    options = parser.parse_args()
    if bool(options.users) != bool(options.items):
        parser.error("--users and --items come together")
    peers = set(options.peers.split(","))
    if options.explicit and {"implicit", "irspack"} & peers:
        parser.error("implicit and irspack fit no ratings: leave them out with --explicit")
    if not options.explicit and {"cmfrec", "libmf"} & peers:
        parser.error("cmfrec and libmf are measured on ratings: give --explicit")
    if options.race and options.race not in peers:
        parser.error(f"--race {options.race} needs it among --peers")
    if options.race and not options.explicit and options.objective == "ials":
        parser.error("--race goes for RMSE with --explicit, or for the hu_koren objective")
    return options


def together(rounds: list[Outcome]) -> Outcome:
    """What the last round learnt, with the iterations of all and the median of the whole fits."""
    each = [seconds for outcome in rounds for seconds in outcome.each[1:] or outcome.each]
    whole = float(np.median([outcome.whole for outcome in rounds]))
    return replace(rounds[-1], each=[rounds[0].each[0], *each], whole=whole)


def tell(name: str, outcome: Outcome) -> None:
    """Says at once what a side needed: a run takes minutes."""
    print(
        f"{name}: {outcome.iteration:.4f} s an iteration, {outcome.whole:.2f} s in all", flush=True
    )


def task_of(spark: SparkSession, data: Planted, options: argparse.Namespace, path: Path) -> Task:
    """The planted data as a frame over Parquet files, and what all sides share."""
    data.write(path, "rating" if options.explicit else "weight")
    frame = spark.read.parquet(str(path))
    rest = options.rank, options.iterations, options.threads, options.explicit
    return Task(frame, data.shape, *rest)


def parameters(options: argparse.Namespace) -> AlsParams:
    """The engine's parameters: the objective that a peer has, or explicit with biases."""
    common = {
        "rank": options.rank,
        "iterations": options.iterations,
        "execution": options.execution,
        "solver": options.solver,
        "threads": options.threads,
        "blocks": options.blocks,
        "checkpoint_interval": max(1, options.iterations // 3),
        "task_memory_mb": 1 << 20,
    }
    if options.explicit:
        kind = {"feedback": "explicit", "regularization": EXPLICIT_RIDGE, "nu": 1.0}
    elif options.objective == "ials":
        kind = {"objective": "ials", "nu": 1.0, "alpha": 1.0, **IRSPACK}
    else:
        kind = {"objective": "hu_koren", "regularization": IMPLICIT_RIDGE, "nu": 0.0, "alpha": 1.0}
    return AlsParams.model_validate(common | kind)


def compile_kernels(params: AlsParams) -> float:
    """Seconds to compile the kernels, or to load them where an earlier run compiled them."""
    begin = time.perf_counter()
    one = np.zeros(1, np.int32)
    rows = csr_from_pairs(one, one, np.ones(1, np.float32), (1, 1))
    fit_rows(rows, params.model_copy(update={"iterations": 1}))
    return time.perf_counter() - begin


def engine(task: Task, params: AlsParams, checkpoints: Path) -> Outcome:
    """`fit_als` from the frame to factor matrices; a small fit first, to start the workers."""
    fit_als(task.frame.limit(1000), params.model_copy(update={"iterations": 1}))
    told: list[Progress] = []
    begin = time.perf_counter()
    checkpoint = FitCheckpoints(task.frame.sparkSession, checkpoints)
    model = fit_als(task.frame, params, checkpoint=checkpoint, callback=told.append)
    whole = time.perf_counter() - begin
    done = [0, *(p.iteration for p in told)]
    each = list(told[-1].each)
    if not each:  # Distributed: whole stretches, of which the first makes the first messages too.
        each = [p.seconds / (p.iteration - d) for p, d in zip(told, done, strict=False)]
    sides = []
    for frame, key, size in (
        (model.user_factors, "user_id", task.shape[0]),
        (model.item_factors, "item_id", task.shape[1]),
    ):
        table = frame.select(key, "factors", "bias").toArrow()
        dense, bias = np.zeros((size, task.rank), np.float32), np.zeros(size, np.float32)
        ids = np.asarray(table[key])
        dense[ids] = np.asarray(table["factors"].combine_chunks().flatten()).reshape(-1, task.rank)
        bias[ids] = np.asarray(table["bias"])
        sides.append((dense, bias))
    (users, user_bias), (items, item_bias) = sides
    return Outcome(each, whole, users, items, user_bias, item_bias, model.mean, told[-1].loss)


def race(data: Planted, params: AlsParams, peer: Outcome) -> dict[str, float]:
    """Seconds of iterations until the engine is as good as a peer after all of its own.

    That is its objective where feedback is implicit, and else its RMSE of the held-out ratings.
    """
    explicit = params.feedback == "explicit"
    values = data.ratings if explicit else data.strengths
    mean = float(np.mean(values, dtype=np.float64)) if explicit else 0.0
    rows = csr_from_pairs(data.users, data.items, values - np.float32(mean), data.shape)
    fitted = Fitted(*(initial_rows(side, np.arange(data.shape[side]), params) for side in (0, 1)))
    step, rank, iterations = params.model_copy(update={"iterations": 1}), params.rank, 0

    def reached(found: Outcome) -> float:
        if explicit:
            return quality(data, found, explicit=True)["rmse"]
        return hu_koren_loss(data, (found.users, found.items), params.regularization)

    goal, now = reached(peer), np.inf
    while now > goal and iterations < 2 * params.iterations:
        fit_rows(rows, step, fitted)
        sides = fitted.users[:, :rank], fitted.items[:, :rank]
        biases = (fitted.users[:, rank], fitted.items[:, rank]) if explicit else ()
        now = reached(Outcome([], 0.0, *sides, *biases, mean=mean))
        iterations += 1
    return {
        "goal": goal,
        "reached": now,
        "iterations": iterations,
        "seconds": round(sum(fitted.seconds), 3),
        "seconds_of_peer": round(params.iterations * peer.iteration, 3),
    }


def describe(
    options: argparse.Namespace, data: Planted, outcomes: dict[str, Outcome]
) -> dict[str, Any]:
    """All figures of a run."""
    ours = outcomes["matchlake"]
    result: dict[str, Any] = {
        "bench": "als",
        "feedback": "explicit" if options.explicit else "implicit",
        "objective": None if options.explicit else options.objective,
        "interactions": len(data.users),
        "users": data.shape[0],
        "items": data.shape[1],
        "rank": options.rank,
        "execution": options.execution,
        "cores": options.threads,
        "rounds": options.rounds,
        "seconds_per_iteration": {n: round(o.iteration, 4) for n, o in outcomes.items()},
        "fit_seconds": {n: round(o.whole, 2) for n, o in outcomes.items()},
        "nanoseconds_per_interaction": round(ours.iteration / len(data.users) * 1e9, 2),
        "quality": {
            n: {k: round(v, 4) for k, v in quality(data, o, explicit=options.explicit).items()}
            for n, o in outcomes.items()
        },
        "ratio": {
            n: round(ours.iteration / o.iteration, 4) for n, o in outcomes.items() if o is not ours
        },
        "fit_ratio": {
            n: round(ours.whole / o.whole, 4) for n, o in outcomes.items() if o is not ours
        },
        "versions": versions(*(n for n in ("implicit", "irspack") if n in outcomes)),
    }
    if not options.explicit:
        ridge = IMPLICIT_RIDGE
        result["objective"] = {
            n: hu_koren_loss(data, (o.users, o.items), ridge) for n, o in outcomes.items()
        }
    return result


def show(result: dict[str, Any]) -> None:
    """The figures as a table."""
    print(
        f"{result['feedback']}, rank {result['rank']}, {result['interactions']:,} interactions "
        f"({result['users']:,} x {result['items']:,}), {result['execution']}, "
        f"{result['cores']} cores; kernels ready after {result['compile_seconds']} s, "
        f"peak {result['peak_mib']} MiB"
    )
    print(f"{'side':<12}{'s/iteration':>12}{'ours/theirs':>12}{'whole fit s':>12}  quality")
    for name, seconds in result["seconds_per_iteration"].items():
        ratio = result["ratio"].get(name, "")
        quality_of = ", ".join(f"{k} {v}" for k, v in result["quality"][name].items())
        whole = result["fit_seconds"][name]
        print(f"{name:<12}{seconds:>12}{ratio:>12}{whole:>12}  {quality_of}")


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    main()
