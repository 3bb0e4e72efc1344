"""Seconds to fit SLIM, ours and fastslim's, with equal penalties, and how much the weights differ.

    python tests/benchmarks/bench_slim.py --set planted --l1 5 --l2 50

Both sides solve the same convex problem on the same binary pairs, with the same tolerance and as
many threads. The sides take turns. CPU seconds are given too: on a machine with other work only
these can be compared.
"""

import argparse
import json
import statistics
import time
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix
from tests.benchmarks.implicit_sets import ml_100k
from tests.benchmarks.marks import with_marks
from tests.benchmarks.planted import plant
from tests.benchmarks.runs import pin, versions

from matchlake.engine.csr import csr_from_pairs
from matchlake.recommender.linear.params import SlimParams
from matchlake.recommender.linear.slim_solver import slim_weights

LARGE = 2_000_000, (60_000, 25_000)


def main() -> None:
    """Runs the benchmark that the command line describes."""
    options = arguments()
    pin(options.threads)
    made: Any = ml_100k() if options.set == "ml-100k" else plant(*LARGE)
    users, items, shape = made.users, made.items, made.shape
    ours(csr_matrix(np.eye(3)), options)  # compiles
    rows = csr_matrix((np.ones(len(users)), (users, items)), shape)
    found: dict[str, dict[str, Any]] = {
        name: {"seconds": [], "cpu_seconds": []} for name in ("slim", "fastslim")
    }
    weights = {}
    for number in range(options.rounds):
        for name in list(found)[:: -1 if number % 2 else 1]:
            begin, used = time.perf_counter(), time.process_time()
            weights[name] = SIDES[name](rows, options)
            found[name]["seconds"].append(round(time.perf_counter() - begin, 3))
            found[name]["cpu_seconds"].append(round(time.process_time() - used, 3))
            print(name, found[name], flush=True)
    medians = {name: statistics.median(each["cpu_seconds"]) for name, each in found.items()}
    result = {
        "bench": "slim",
        "set": options.set,
        "shape": shape,
        "pairs": rows.nnz,
        "penalties": [options.l1, options.l2],
        "threads": options.threads,
        "sides": found,
        "ratio": {"fastslim": round(medians["slim"] / medians["fastslim"], 3)},
        "weights": {name: int(each.nnz) for name, each in weights.items()},
        "largest_difference": float(abs(weights["slim"] - weights["fastslim"]).max()),
        "versions": versions("fastslim"),
    }
    print(json.dumps(with_marks("slim", result)))


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--set", choices=("ml-100k", "planted"), default="ml-100k")
    parser.add_argument("--l1", type=float, default=2.0)
    parser.add_argument("--l2", type=float, default=50.0)
    parser.add_argument("--tolerance", type=float, default=1e-4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2, help="cores both sides are pinned to")
    return parser.parse_args()


def ours(rows: csr_matrix, options: argparse.Namespace) -> csr_matrix:
    """`slim_weights`, sources x targets."""
    coo = rows.tocoo()
    pairs = coo.row.astype(np.int32), coo.col.astype(np.int32)
    matrix = csr_from_pairs(*pairs, coo.data.astype(np.float32), rows.shape)
    params = SlimParams(
        l1_regularization=options.l1, l2_regularization=options.l2, tolerance=options.tolerance
    )
    every = np.arange(rows.shape[1], dtype=np.int32)
    found = slim_weights(matrix, params, every, options.threads)
    size = rows.shape[1]
    return csr_matrix((found.weights, found.sources, found.indptr), (size, size)).T.tocsr()


def fastslim(rows: csr_matrix, options: argparse.Namespace) -> csr_matrix:
    """`fastslim.fit`."""
    import fastslim as peer  # noqa: PLC0415

    given = {"lambd": options.l1, "beta": options.l2, "tol": options.tolerance}
    return csr_matrix(peer.fit(rows, n_threads=options.threads, **given))


SIDES = {"slim": ours, "fastslim": fastslim}

if __name__ == "__main__":
    main()
