"""The experiments around a model: search, selection, importance, balance and clusters.

    python tests/benchmarks/bench_experiments.py --json              # all rows: hours on two cores
    python tests/benchmarks/bench_experiments.py --only search_overhead,filter_scores
    python tests/benchmarks/bench_experiments.py --only filter_speed --rows 2000000

Each row is a function in one of MODULES, with its claims beside it. A row prints one line of JSON
with its `marks`; a row that fails prints its error, and the others still run.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from importlib import import_module
from typing import Any

from tests.benchmarks.marks import Claim
from tests.benchmarks.runs import pin, versions

MODULES = ("experiments_search", "experiments_selection")
"""The modules with rows; each has ROWS, functions by name, and CLAIMS, by the same names."""
Row = Callable[[argparse.Namespace], dict[str, Any]]


def rows() -> dict[str, tuple[Row, tuple[Claim, ...]]]:
    """The rows of all modules with their claims, in their order."""
    found: dict[str, tuple[Row, tuple[Claim, ...]]] = {}
    for name in MODULES:
        module = import_module(f"tests.benchmarks.{name}")
        found |= {row: (run, module.CLAIMS.get(row, ())) for row, run in module.ROWS.items()}
    return found


def main() -> int:
    """Runs the rows that the command line names; 1 if one of them failed."""
    known = rows()
    options = arguments(list(known))
    pin(options.threads)
    failed = 0
    for name in options.only.split(","):
        run, claims = known[name]
        begin = time.perf_counter()
        try:
            result: dict[str, Any] = {name: run(options)}
        except Exception as error:  # noqa: BLE001 - a row that fails costs no other
            result, failed = {name: {"error": f"{type(error).__name__}: {error}"}}, 1
        result["seconds"] = round(time.perf_counter() - begin, 1)
        result["versions"] = versions("optuna", "scikit-learn", "scipy")
        judged = (claim.judge(result) for claim in claims)
        result["marks"] = [entry for entry in judged if entry]
        json.dump(result, sys.stdout, indent=None if options.json else 1)
        print(flush=True)
    return failed


def arguments(names: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", default=",".join(names), help=f"of {', '.join(names)}")
    parser.add_argument("--rows", type=int, default=20_000_000, help="rows of the large tables")
    parser.add_argument("--seeds", type=int, default=5, help="seeds of the comparison of searches")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--driver-memory", default="6g")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
