"""Rare classes and permutation importance, against imbalanced-learn and scikit-learn.

    python -m tests.benchmarks.experiments_balance --json
    python -m tests.benchmarks.experiments_balance --only neighbors --rare 50000

Both sides use the same cores, in turn. `neighbors` is the search and the synthetic rows of SMOTE
for rows of a rare class. `categories` balances a table of 5 categories of 10,000 values each, in a
process of its own whose peak memory counts. `importance` scores all columns and repeats with the
same shuffles. `remedies` compares the test part's measures of no remedy, SMOTE, weights and a
threshold.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from tests.benchmarks.marks import Claim
from tests.benchmarks.runs import pin, versions

from matchlake.learners.params import SklearnParams, SmoteParams
from matchlake.learners.protocol import TrainingData
from matchlake.learners.smote import smote

PARTS = ("neighbors", "categories", "importance", "remedies")
CLAIMS = (
    Claim(
        "SMOTE: neighbours of 50,000 rows x 20 that differ from brute force in double",
        "none",
        0,
        "lower",
        ("neighbors", "different"),
        {"rare": 50_000},
    ),
    Claim(
        "SMOTE of 50,000 rare rows x 20: seconds, ours / theirs",
        "imbalanced-learn",
        0.6,
        "lower",
        ("neighbors", "ratio"),
        {"rare": 50_000},
    ),
    Claim(
        "SMOTE-NC, 8 M rows, 50,000 rare, 5 categories of 10,000 values: peak MiB",
        "imbalanced-learn (MemoryError)",
        3072,
        "lower",
        ("categories", "mib_peak"),
        {"rows": 8_000_000},
    ),
    Claim(
        "permutation importance: largest difference with the same shuffles",
        "scikit-learn",
        1e-12,
        "lower",
        ("importance", "difference"),
    ),
    Claim(
        "permutation importance of 1 M rows x 20 x 5: seconds, ours / theirs",
        "scikit-learn",
        0.6,
        "lower",
        ("importance", "ratio"),
        {"importance_rows": 1_000_000, "repeats": 5},
    ),
)


def main() -> None:
    """Runs the parts that the command line names."""
    options = arguments()
    pin(options.threads)
    if options.peak:
        json.dump(_categories_here(options.rows), sys.stdout)
        return
    json.dump(measure(options), sys.stdout, indent=None if options.json else 1)
    print()


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """The figures of the chosen parts, with their marks."""
    parts: dict[str, Callable[[argparse.Namespace], Any]] = {
        "neighbors": neighbors,
        "categories": categories,
        "importance": importance,
        "remedies": remedies,
    }
    sizes = ("threads", "rare", "rows", "importance_rows", "repeats")
    result: dict[str, Any] = {name: getattr(options, name) for name in sizes}
    for name in options.only.split(","):
        result[name] = parts[name](options)
    result["versions"] = versions("scikit-learn", "imbalanced-learn")
    judged = (claim.judge(result) for claim in CLAIMS)
    return result | {"marks": [entry for entry in judged if entry]}


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", default=",".join(PARTS))
    parser.add_argument("--rare", type=int, default=50_000)
    parser.add_argument("--rows", type=int, default=8_000_000, help="of the part categories")
    parser.add_argument("--importance-rows", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--peak", action="store_true", help="the part categories, in this process")
    return parser.parse_args()


def in_rounds(sides: dict[str, Callable[[], Any]], rounds: int) -> dict[str, Any]:
    """Seconds of each side, round by round in turn; every other round backwards."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(rounds):
        for name in list(sides)[:: -1 if number % 2 else 1]:
            begin = time.perf_counter()
            sides[name]()
            seconds[name].append(round(time.perf_counter() - begin, 3))
    medians = {name: float(np.median(each)) for name, each in seconds.items()}
    return {"seconds": seconds, "ratio": round(medians["ours"] / medians["theirs"], 3)}


def neighbors(options: argparse.Namespace) -> dict[str, Any]:
    """SMOTE of a rare class to twice its rows, and its neighbours against brute force."""
    from imblearn.over_sampling import SMOTE  # noqa: PLC0415

    from matchlake.engine.neighbors import nearest_rows  # noqa: PLC0415

    random = np.random.default_rng(1)
    rare = options.rare
    matrix = random.normal(size=(3 * rare, 20)) @ random.normal(size=(20, 20))
    label = np.repeat([0, 1], [2 * rare, rare])
    data = TrainingData(matrix, tuple(f"c{i}" for i in range(20)), label)
    smote(data, SmoteParams(), 1)  # compiles
    sides = {
        "ours": lambda: smote(data, SmoteParams(), 1),
        "theirs": lambda: SMOTE(random_state=1).fit_resample(matrix, label),
    }
    found = in_rounds(sides, options.rounds)
    own = matrix[label == 1]
    places, checked = nearest_rows(own, 5), random.choice(rare, min(rare, 2000), replace=False)
    different = 0
    for row in checked:
        apart = np.square(own - own[row]).sum(axis=1)
        apart[row] = np.inf
        best = np.argsort(apart, kind="stable")[:5]
        near = np.abs(apart[best] - apart[places[row]]) > 1e-6 * apart[best]
        different += int(near.any())
    return found | {"rare": rare, "checked": len(checked), "different": different}


def categories(options: argparse.Namespace) -> dict[str, Any]:
    """The peak memory and seconds of a process that balances categories of 10,000 values."""
    command = [sys.executable, "-m", "tests.benchmarks.experiments_balance", "--peak"]
    command += ["--rows", str(options.rows), "--threads", str(options.threads)]
    done = subprocess.run(command, capture_output=True, check=True, text=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _categories_here(rows: int) -> dict[str, Any]:
    random = np.random.default_rng(2)
    matrix = np.empty((rows, 10))
    for column in range(5):
        matrix[:, column] = random.normal(size=rows)
        matrix[:, 5 + column] = random.integers(0, 10_000, rows)
    label = (np.arange(rows) % (rows // 50_000 or 1) == 0).astype(np.int8)
    data = TrainingData(matrix, tuple(f"c{i}" for i in range(10)), label)
    rare = int(label.sum())
    begin = time.perf_counter()
    params = SmoteParams(ratio={"1": 2 * rare / (rows - rare)})
    made = smote(data, params, 1, [(5 + i,) for i in range(5)])
    seconds = round(time.perf_counter() - begin, 2)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    return {"rows": rows, "rare": rare, "made": made.rows - rows, "mib_peak": peak,
            "seconds": seconds}  # fmt: skip


def importance(options: argparse.Namespace) -> dict[str, Any]:
    """All columns and repeats of gradient boosting, by log loss."""
    import pandas as pd  # noqa: PLC0415
    from sklearn.inspection import permutation_importance as by_sklearn  # noqa: PLC0415
    from tests.support.fitted_features import number_features  # noqa: PLC0415

    from matchlake.learners.registry import fit_head  # noqa: PLC0415
    from matchlake.learners.sklearn import make_estimator  # noqa: PLC0415
    from matchlake.model_store.scoring_model import ScoringModel  # noqa: PLC0415
    from matchlake.training.importance import column_blocks, importances  # noqa: PLC0415

    random = np.random.default_rng(3)
    names = tuple(f"x{i}" for i in range(20))
    matrix = random.normal(size=(options.importance_rows, 20))
    chance = matrix[:, 0] + np.sin(matrix[:, 1] * 2) + matrix[:, 2] * matrix[:, 3] / 2
    label = (chance + random.normal(size=len(matrix)) > 0).astype(np.int64)
    some = slice(0, 50_000)
    chosen = SklearnParams(estimator="HistGradientBoostingClassifier", params={"max_iter": 50})
    head = fit_head(TrainingData(matrix[some], names, label[some]), chosen, "classification", 1)
    theirs = make_estimator(chosen, "classification", 1).fit(matrix[some], label[some])
    features = number_features(names)
    model = ScoringModel(name="m", task="classification", features=features, head=head)
    frame, shuffles = pd.DataFrame(matrix, columns=names), _shuffles(len(matrix), options.repeats)
    made: dict[str, Any] = {}

    def ours() -> None:
        blocks = column_blocks(model.features, {})
        found = importances(model, frame, label, ("log_loss", blocks, shuffles))
        made["ours"] = np.array([found[name].values for name in names])

    def peer() -> None:
        found = by_sklearn(theirs, matrix, label, scoring="neg_log_loss",
                           n_repeats=options.repeats, random_state=5)  # fmt: skip
        made["theirs"] = found.importances

    found = in_rounds({"ours": ours, "theirs": peer}, min(options.rounds, 2))
    difference = float(np.abs(made["ours"] - made["theirs"]).max())
    return found | {"rows": len(matrix), "repeats": options.repeats, "difference": difference}


def _shuffles(rows: int, repeats: int) -> list[np.ndarray]:
    """As in scikit-learn: a repeat shuffles the positions and the column of the one before."""
    random = np.random.RandomState(5)
    random = np.random.RandomState(random.randint(np.iinfo(np.int32).max + 1))
    positions, places, found = np.arange(rows), np.arange(rows), []
    for _ in range(repeats):
        random.shuffle(positions)
        places = places[positions]
        found.append(places.copy())
    return found


def remedies(options: argparse.Namespace) -> dict[str, Any]:
    """Measures of a test part with one row in 50 of the rare class, by remedy; means of seeds."""
    del options
    from tests.benchmarks.imbalance import compare_remedies  # noqa: PLC0415

    return compare_remedies(range(2))


if __name__ == "__main__":
    main()
