"""Scoring models against the estimators they came from, and against MLflow's own scoring.

    python tests/benchmarks/bench_models.py --json                 # all parts
    python tests/benchmarks/bench_models.py --only accuracy,engines --models 200
    python tests/benchmarks/bench_models.py --only scoring --rows 5000000

`accuracy` fits each estimator once on rows with missing values where it takes them, and compares
the head with the estimator's own predictions on rows that neither has seen. `engines` scores
generated models over hostile rows in NumPy, ONNX, from JSON and in Spark SQL; a figure is the
largest difference in units of the sum of the absolute terms. `scoring` scores a table of gradient
boosting of 100 trees, from Parquet to nowhere, by `transform` and by `mlflow.pyfunc.spark_udf` of
the same scikit-learn model. `fit` is the learner's door against the estimator alone.
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
import pandas as pd
from pyspark.sql import DataFrame
from tests.benchmarks.marks import with_marks
from tests.benchmarks.memory import PeakMemory
from tests.benchmarks.rounds import in_turn, ratio
from tests.benchmarks.runs import pin, session, versions
from tests.support.fitted_features import number_statistics

from matchlake.features.model import FeatureModel
from matchlake.features.scalers import Number
from matchlake.learners.params import LightgbmParams, SklearnParams
from matchlake.learners.protocol import TrainingData
from matchlake.learners.registry import fit_head
from matchlake.learners.sklearn import ESTIMATORS, make_estimator
from matchlake.model_store.scoring_model import ScoringModel

PARTS = ("accuracy", "engines", "scoring", "fit")
MORE = {"LogisticRegression": {"max_iter": 2000}}
COLUMNS = tuple(f"x{i}" for i in range(12))


def main() -> None:
    """Runs the parts that the command line names."""
    options = arguments()
    pin(options.threads)
    result: dict[str, Any] = {"threads": options.threads, "rows": options.rows}
    parts: dict[str, Callable[[argparse.Namespace], Any]] = {
        "accuracy": accuracy,
        "engines": engines,
        "scoring": scoring,
        "fit": fit,
    }
    for name in options.only.split(","):
        result[name] = parts[name](options)
    result |= {"versions": versions("scikit-learn", "lightgbm", "onnxruntime", "mlflow")}
    json.dump(with_marks("models", result), sys.stdout, indent=None if options.json else 1)
    print()


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", default=",".join(PARTS))
    parser.add_argument("--rows", type=int, default=5_000_000)
    parser.add_argument("--fit-rows", type=int, default=1_000_000)
    parser.add_argument("--models", type=int, default=60, help="generated models per kind of head")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--driver-memory", default="4g")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


def rows(count: int, seed: int, *, missing: bool) -> np.ndarray:
    """Numbers of several scales, some rounded, some whole."""
    random = np.random.default_rng(seed)
    made = random.normal(size=(count, len(COLUMNS))) * np.geomspace(0.1, 10.0, len(COLUMNS))
    made[:, 3] = np.round(random.normal(size=count), 1)
    made[:, 4] = random.integers(0, 5, count)
    if missing:
        made[random.random(made.shape) < 0.05] = np.nan
    return made


def label(matrix: np.ndarray, task: str) -> np.ndarray | None:
    """A label that depends on several features."""
    if task == "clustering":
        return None
    known = np.nan_to_num(matrix) / (1e-9 + np.nanstd(matrix, axis=0))
    signal = known[:, 0] + np.sin(3 * known[:, 1]) + known[:, 3] * known[:, 4]
    if task == "regression":
        return np.asarray(np.exp(signal / 6))
    return np.array(["a", "b", "c"])[np.digitize(signal, np.quantile(signal, [0.4, 0.8]))]


def accuracy(options: argparse.Namespace) -> dict[str, float]:
    """By estimator the largest difference from its own predictions, relative to 1 and above."""
    del options
    found = {}
    for name, estimator in ESTIMATORS.items():
        matrix = rows(4000, 1, missing=estimator.missing)
        unseen = rows(4000, 2, missing=estimator.missing)
        target = label(matrix, estimator.task)
        params = SklearnParams(estimator=name, params=MORE.get(name, {}))
        head = fit_head(TrainingData(matrix, COLUMNS, target), params, estimator.task, 1)
        model = make_estimator(params, estimator.task, 1)
        model.fit(matrix) if target is None else model.fit(matrix, target)
        found[name] = _largest(head.numpy(unseen), model, unseen, estimator.task)
    found["lightgbm"] = _lightgbm()
    return found | {"largest": max(found.values())}


def _largest(scored: Any, model: Any, unseen: np.ndarray, task: str) -> float:
    if task == "regression":
        return _difference(scored["prediction"], model.predict(unseen))
    if (scored["prediction"] != model.predict(unseen)).any():
        return float("inf")
    if task == "clustering":
        return 0.0  # scikit-learn's distances are themselves off by more than 1e-12
    return _difference(scored["probabilities"], model.predict_proba(unseen))


def _difference(found: np.ndarray, expected: np.ndarray) -> float:
    return float((np.abs(found - expected) / np.maximum(1.0, np.abs(expected))).max())


def _lightgbm() -> float:
    import lightgbm  # noqa: PLC0415

    matrix, unseen = rows(4000, 1, missing=True), rows(4000, 2, missing=True)
    target = label(matrix, "regression")
    params = {"verbose": -1, "seed": 1, "deterministic": True, "objective": "regression"}
    data = lightgbm.Dataset(matrix, target, feature_name=[f"c{i}" for i in range(len(COLUMNS))])
    booster = lightgbm.train(params, data, 100)
    head = fit_head(TrainingData(matrix, COLUMNS, target), LightgbmParams(), "regression", 1)
    return _difference(head.numpy(unseen)["prediction"], booster.predict(unseen))


def engines(options: argparse.Namespace) -> dict[str, Any]:
    """The largest difference from NumPy by engine, and the number of other labels."""
    from tests.benchmarks.model_engines import compare_engines  # noqa: PLC0415

    with tempfile.TemporaryDirectory() as folder:
        return compare_engines(session(options, Path(folder)), options.models)


def features(columns: tuple[str, ...] = COLUMNS) -> FeatureModel:
    """The columns as they are."""
    from matchlake.features.fitted import Declared  # noqa: PLC0415
    from matchlake.features.fitted_number import FittedNumber  # noqa: PLC0415
    from matchlake.features.names import Names  # noqa: PLC0415

    encoder = Number()
    found = number_statistics(np.arange(10.0), encoder)
    made = tuple(
        FittedNumber.learn(Declared(name, name, "double", encoder), found, None, Names())
        for name in columns
    )
    return FeatureModel(name="t", rows=1, keys=("id",), features=made)


def scoring(options: argparse.Namespace) -> dict[str, Any]:
    """Seconds of each side, and ours divided by theirs."""
    import mlflow  # noqa: PLC0415

    matrix = rows(20_000, 1, missing=True)
    target = label(matrix, "regression")
    params = SklearnParams(estimator="HistGradientBoostingRegressor")
    head = fit_head(TrainingData(matrix, COLUMNS, target), params, "regression", 1)
    named = pd.DataFrame(matrix, columns=COLUMNS)  # as Spark gives the columns to the peer
    estimator = make_estimator(params, "regression", 1).fit(named, target)
    model = ScoringModel(name="m", task="regression", features=features(), head=head)
    with tempfile.TemporaryDirectory() as place, PeakMemory() as memory:
        folder = Path(place)
        spark = session(options, folder)
        mlflow.sklearn.save_model(
            estimator, str(folder / "peer"), serialization_format="cloudpickle"
        )
        source = str(folder / "rows")
        columns = ", ".join(f"randn({i}) AS {name}" for i, name in enumerate(COLUMNS))
        table = spark.range(options.rows).selectExpr("id", *columns.split(", "))
        table.repartition(8).write.parquet(source)
        udf = mlflow.pyfunc.spark_udf(spark, str(folder / "peer"), "double", env_manager="local")

        def write(frame: DataFrame) -> None:
            frame.write.format("noop").mode("overwrite").save()

        def ours(_out: Path) -> None:
            write(model.transform(spark.read.parquet(source)))

        def theirs(_out: Path) -> None:
            read = spark.read.parquet(source)
            write(read.select("id", udf(*(read[name] for name in COLUMNS)).alias("prediction")))

        sides = {"ours": ours, "spark_udf": theirs}
        found = in_turn(sides, folder, options.rounds, memory)
        nodes = head.size()
        spark.stop()
    return {"nodes": nodes, **found, "ratio": {"spark_udf": ratio(found, "ours", "spark_udf")}}


def fit(options: argparse.Namespace) -> dict[str, Any]:
    """Seconds of the learner and of the estimator alone, in turn."""
    matrix = rows(options.fit_rows, 1, missing=True)
    target = label(matrix, "regression")
    params = SklearnParams(estimator="HistGradientBoostingRegressor")
    data = TrainingData(matrix, COLUMNS, target)
    seconds: dict[str, list[float]] = {"ours": [], "sklearn": []}
    for _ in range(options.rounds):
        for name, taken in seconds.items():
            begin = time.perf_counter()
            if name == "ours":
                fit_head(data, params, "regression", 1)
            else:
                make_estimator(params, "regression", 1).fit(matrix, target)
            taken.append(round(time.perf_counter() - begin, 2))
    medians = {name: float(np.median(each)) for name, each in seconds.items()}
    return {**seconds, "ratio": {"sklearn": round(medians["ours"] / medians["sklearn"], 3)}}


if __name__ == "__main__":
    main()
