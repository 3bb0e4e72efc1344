"""The marks on trust: experiments in which nothing may be lost, doubled or leaked, and two ratios.

An experiment is a group of tests; its figure is the share of tests that passed. `slowest` is the
time of the slowest kind of bad JSON record against a good one. `throughput` needs `--against`, a
checkout of another commit after `make install-bench` there; the two take turns. `histories` runs
4 histories of 40 steps; the environment variable MATCHLAKE_TEST_HISTORIES=20x60 or 1x1000 changes
that.

    python tests/benchmarks/bench_trust.py --rows bombs,overrides,slowest --json
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from pathlib import Path

from tests.benchmarks.json_errors import KINDS, seconds
from tests.benchmarks.marks import with_marks

ROOT = Path(__file__).parents[2]
EXPERIMENTS = {
    "stalls": ("tests/integration/test_ingest_stalled.py",),
    "histories": ("tests/spark/ingest/streams/test_random_histories.py",),
    "erased": ("tests/integration/test_erased_stays.py", "tests/integration/test_erase_killed.py"),
    "overrides": ("tests/integration/test_override_canary.py", "tests/contract/test_settable.py"),
    "bombs": (
        "tests/unit/ingest/parse/test_limits.py",
        "tests/unit/ingest/parse/test_fuzz.py",
        "tests/spark/ingest/streams/test_killers.py",
        "tests/spark/ingest/files/test_sizes.py",
    ),
    "races": ("tests/spark/ingest/test_silver_races.py",),
}
RATIOS = ("slowest", "throughput")


def passed(files: tuple[str, ...]) -> float:
    """The share of the tests in the files that pass."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", "-q", "-m", "soak or not soak"]
        subprocess.run([*command, f"--junitxml={report}", *files], cwd=ROOT, check=False)
        (suite,) = ET.parse(report).getroot()  # noqa: S314 - pytest wrote it
    bad = sum(int(suite.get(name, 0)) for name in ("failures", "errors", "skipped"))
    total = int(suite.get("tests", 0))
    print(f"{' '.join(files)}: {total - bad} of {total}", flush=True)
    return (total - bad) / total


def slowest(count: int) -> float:
    """How many times longer the slowest kind of bad JSON record takes than a good one."""
    good = seconds(KINDS["good"], count)
    plain = {name: value for name, value in KINDS.items() if "deep" not in name and name != "good"}
    taken = {name: seconds(value, count) / good for name, value in plain.items()}
    print(", ".join(f"{name} {ratio:.1f}x" for name, ratio in taken.items()), flush=True)
    return max(taken.values())


def throughput(other: Path, events: int, rounds: int) -> float:
    """Records per second of this tree against those of the other, the median of the rounds."""
    ratios = []
    for _ in range(rounds):
        rates = [_rate(tree, events) for tree in (ROOT, other)]
        ratios.append(rates[0] / rates[1])
    return statistics.median(ratios)


def _rate(tree: Path, events: int) -> float:
    command = [".venv/bin/python", "tests/benchmarks/bench_ingest.py", "--events", str(events)]
    done = subprocess.run(
        [*command, "--rounds", "2", "--peers", "none", "--json"],
        cwd=tree,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    return float(json.loads(done.stdout.splitlines()[-1])["rates"]["matchlake"])


def main() -> None:
    """Prints each figure, and with `--json` one object with `marks` as the last line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", default=",".join([*EXPERIMENTS, *RATIOS]), help="some of them")
    parser.add_argument("--against", type=Path, help="checkout of another commit, for throughput")
    parser.add_argument("--events", type=int, default=3_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--count", type=int, default=20_000, help="records of each bad kind")
    parser.add_argument("--json", action="store_true", help="print one JSON object as last line")
    options = parser.parse_args()
    rows = options.rows.split(",")
    figures = {name: passed(files) for name, files in EXPERIMENTS.items() if name in rows}
    if "slowest" in rows:
        figures["slowest"] = slowest(options.count)
    if "throughput" in rows and options.against:
        figures["throughput"] = throughput(options.against, options.events, options.rounds)
    result = {"bench": "trust", "figures": figures}
    print(figures)
    if options.json:
        print(json.dumps(with_marks("trust", result)))


if __name__ == "__main__":
    main()
