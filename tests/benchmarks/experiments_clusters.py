"""A sweep of k-means, against loops over scikit-learn and over Spark ML.

    python -m tests.benchmarks.experiments_clusters --json
    python -m tests.benchmarks.experiments_clusters --only sklearn --rows 1000000

All sides cluster the same rows for k = 2..20 with one start per k, on the same cores. The loop over
scikit-learn fits KMeans and has no silhouette, which takes squared time there. The loop over Spark
ML fits KMeans and asks ClusteringEvaluator for its silhouette; both read rows that are cached.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from tests.benchmarks.marks import Claim
from tests.benchmarks.runs import pin, session, versions

from matchlake.learners.kmeans import ClusterSweep, fit_clusters, sweep_clusters
from matchlake.learners.params import KmeansParams
from matchlake.learners.protocol import TrainingData

COLUMNS = tuple(f"c{i}" for i in range(12))
CLAIMS = (
    Claim(
        "sweep k = 2..20 of 5 M rows x 12 in memory: seconds, ours / theirs",
        "loop over scikit-learn",
        0.5,
        "lower",
        ("sklearn", "ratio"),
        {"rows": 5_000_000, "most": 20},
    ),
    Claim(
        "sweep k = 2..20 of 5 M rows x 12 on Spark: seconds, ours / theirs",
        "loop over Spark ML",
        0.1,
        "lower",
        ("spark", "ratio"),
        {"rows": 5_000_000, "most": 20},
    ),
    Claim(
        "sum of the inertia of all k, ours / theirs",
        "loop over scikit-learn",
        1.001,
        "lower",
        ("sklearn", "inertia"),
    ),
    Claim(
        "Davies-Bouldin and Calinski-Harabasz: largest relative difference",
        "scikit-learn",
        1e-9,
        "lower",
        ("sklearn", "measures"),
    ),
)


def main() -> None:
    """Runs the parts that the command line names."""
    options = arguments()
    pin(options.threads)
    json.dump(measure(options), sys.stdout, indent=None if options.json else 1)
    print()


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """The figures of the chosen parts, with their marks."""
    parts: dict[str, Callable[[argparse.Namespace], Any]] = {
        "sklearn": in_memory,
        "spark": on_spark,
    }
    result: dict[str, Any] = {n: getattr(options, n) for n in ("rows", "most", "threads")}
    for name in options.only.split(","):
        result[name] = parts[name](options)
    result["versions"] = versions("scikit-learn")
    judged = (claim.judge(result) for claim in CLAIMS)
    return result | {"marks": [entry for entry in judged if entry]}


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", default="sklearn,spark")
    parser.add_argument("--rows", type=int, default=5_000_000)
    parser.add_argument("--most", type=int, default=20, help="the largest k")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--driver-memory", default="6g")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


def rows(count: int) -> np.ndarray:
    """A mixture of 9 normal distributions that overlap."""
    random = np.random.default_rng(1)
    centers = random.normal(size=(9, len(COLUMNS))) * 2
    made = random.normal(size=(count, len(COLUMNS)))
    made += centers[random.integers(0, 9, count)]
    return made


def params(options: argparse.Namespace) -> KmeansParams:
    """The sweep."""
    return KmeansParams.model_validate({"sweep": {"k": {"low": 2, "high": options.most}}})


def in_memory(options: argparse.Namespace) -> dict[str, Any]:
    """The sweep and the loop over scikit-learn, on threads of one process."""
    from sklearn import metrics  # noqa: PLC0415
    from sklearn.cluster import KMeans  # noqa: PLC0415

    matrix, chosen = rows(options.rows), params(options)
    fit_clusters(TrainingData(matrix[:5000], COLUMNS), chosen, 1)  # compiles
    begin = time.perf_counter()
    ours = fit_clusters(TrainingData(matrix, COLUMNS), chosen, 1)
    seconds = {"ours": round(time.perf_counter() - begin, 2)}
    begin = time.perf_counter()
    theirs = [KMeans(k, n_init=1, random_state=1).fit(matrix) for k in range(2, options.most + 1)]
    seconds["theirs"] = round(time.perf_counter() - begin, 2)
    few = fit_clusters(TrainingData(matrix[:50_000], COLUMNS), chosen, 1)
    differences = []
    for each in few.clusterings:
        label = each.head.numpy(matrix[:50_000])["prediction"]
        for name in ("davies_bouldin", "calinski_harabasz"):
            expected = getattr(metrics, f"{name}_score")(matrix[:50_000], label)
            differences.append(abs(getattr(each.measures, name) / expected - 1))
    inertia = sum(each.measures.inertia for each in ours.clusterings)
    return {
        "seconds": seconds,
        "ratio": round(seconds["ours"] / seconds["theirs"], 3),
        "iterations": {"ours": _iterations(ours), "theirs": sum(each.n_iter_ for each in theirs)},
        "inertia": round(inertia / sum(each.inertia_ for each in theirs), 6),
        "measures": max(differences),
        "best": ours.best.k,
    }


def _iterations(sweep: ClusterSweep) -> int:
    return sum(each.iterations for each in sweep.clusterings)


def on_spark(options: argparse.Namespace) -> dict[str, Any]:
    """The sweep and the loop over Spark ML, in one session."""
    from pyspark.ml.clustering import KMeans  # noqa: PLC0415
    from pyspark.ml.evaluation import ClusteringEvaluator  # noqa: PLC0415
    from pyspark.ml.feature import VectorAssembler  # noqa: PLC0415

    chosen = params(options)
    with tempfile.TemporaryDirectory() as place:
        spark = session(options, Path(place))
        listed = [f"randn({i}) + 4 * (pmod(hash(id, {i % 5}), 3)) AS {n}" for i, n in
                  enumerate(COLUMNS)]  # fmt: skip
        path = str(Path(place) / "rows")
        table = spark.range(options.rows).selectExpr("id", *listed)
        table.repartition(2 * options.threads).write.parquet(path)
        frame = spark.read.parquet(path)
        sweep_clusters(frame.limit(2000), COLUMNS, chosen, keys=["id"], seed=1)  # compiles
        begin = time.perf_counter()
        ours = sweep_clusters(frame, COLUMNS, chosen, keys=["id"], seed=1)
        seconds = {"ours": round(time.perf_counter() - begin, 2)}
        begin = time.perf_counter()
        vectors = VectorAssembler(inputCols=list(COLUMNS), outputCol="features")
        cached = vectors.transform(frame).select("features").cache()
        found = {}
        for k in range(2, options.most + 1):
            model = KMeans(k=k, seed=1).fit(cached)
            score = ClusteringEvaluator().evaluate(model.transform(cached))
            found[k] = (score, model.summary.trainingCost, model.summary.numIter)
        seconds["theirs"] = round(time.perf_counter() - begin, 2)
        spark.stop()
    inertia = sum(each.measures.inertia for each in ours.clusterings)
    return {
        "seconds": seconds,
        "ratio": round(seconds["ours"] / seconds["theirs"], 3),
        "passes": max(each.iterations for each in ours.clusterings),
        "iterations": {"ours": _iterations(ours), "theirs": sum(n for *_, n in found.values())},
        "inertia": round(inertia / sum(cost for _, cost, _ in found.values()), 6),
        "best": {"ours": ours.best.k, "theirs": max(found, key=lambda k: found[k][0])},
    }


if __name__ == "__main__":
    main()
