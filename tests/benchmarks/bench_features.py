"""Feature sets against Spark ML and scikit-learn: fit + transform + write, on the same data.

    python -m tests.benchmarks.bench_features --rows 20000000 --json

Flights out of New York (336,776 rows, repeated), six numbers scaled by minimum and maximum, six
texts of 3 to 4,043 values one-hot; then a text of a million values, of which ours keeps a thousand.
All sides read the same Parquet files in the same session and write Delta, after a small warm-up.
Spark ML writes one column of indices and values. Ours has two layouts for wide vocabularies: the
same (`sparse`), and a column for each number and for the slot of each category (`slots`), from
which the same indices and values follow. Before anything is timed, both are compared with Spark
ML's: every distinct row, place by place.
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
from pyspark.sql import DataFrame, SparkSession
from tests.benchmarks.feature_peers import (
    ML_VECTOR,
    entries,
    feature_set,
    matchlake,
    random_rows,
    rows_that_differ,
    scikit_learn,
    spark_ml,
)
from tests.benchmarks.flights import CATEGORIES, NUMBERS, read_flights, write_flights, write_wide
from tests.support.executions import executions

from matchlake.features.fit import fit_features
from matchlake.features.model import Layout

FLIGHTS = feature_set(NUMBERS, CATEGORIES)
LAYOUTS: tuple[Layout, ...] = ("slots", "sparse")
DISTINCT = 336_776
Answer = dict[str, Any]


def main() -> None:
    """Runs what the command line asks for."""
    options = arguments()
    os.sched_setaffinity(0, set(range(options.threads)))
    parts = options.parts.split(",")
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        spark = session(options, folder)
        answer: Answer = {"better": "lower", "ratio": {}, "rows": options.rows}
        write_flights(folder / "once", DISTINCT)
        once = spark.read.parquet(str(folder / "once"))
        answer |= check(spark, once, folder)
        answer["one_row_microseconds"] = one_row(once)
        if "spark_ml" in parts:
            flights(spark, options, folder, answer)
        if "sklearn" in parts:
            against_sklearn(spark, options, folder, answer)
        if "wide" in parts:
            wide(spark, options, folder, answer)
        spark.stop()
    for key, value in answer.items():
        print(f"{key:28} {value}")
    if options.json:
        print(json.dumps(answer))


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=20_000_000)
    parser.add_argument("--sklearn-rows", type=int, default=2_000_000)
    parser.add_argument("--wide-rows", type=int, default=5_000_000)
    parser.add_argument("--wide-values", type=int, default=1_000_000)
    parser.add_argument("--parts", default="spark_ml,sklearn,wide")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--driver-memory", default="4g")
    parser.add_argument("--folder", help="where the data is written for the time; default: /tmp")
    parser.add_argument("--json", action="store_true", help="print one JSON object as last line")
    return parser.parse_args()


def session(options: argparse.Namespace, folder: Path) -> SparkSession:
    """A local session with Delta, its settings the usual ones."""
    os.environ["PYSPARK_PYTHON"] = sys.executable
    os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
    settings = {
        "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
        "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
        "spark.sql.shuffle.partitions": str(2 * options.threads),
        "spark.databricks.delta.snapshotPartitions": "2",
        "spark.driver.memory": options.driver_memory,
        "spark.local.dir": str(folder / "spark"),
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
    }
    builder = SparkSession.builder.master(f"local[{options.threads}]")
    for key, value in settings.items():
        builder = builder.config(key, value)
    spark = builder.getOrCreate()
    spark.sparkContext.setLogLevel("ERROR")
    return spark


def check(spark: SparkSession, once: DataFrame, folder: Path) -> Answer:
    """Both outputs on every distinct row, which warms both sides up; raises where they differ."""
    spark_ml(once, folder / "theirs", NUMBERS, CATEGORIES)
    files = spark.read.schema(f"id BIGINT, {ML_VECTOR}").parquet(str(folder / "theirs"))
    theirs = files.select("id", "features.indices", "features.values")
    for layout in LAYOUTS:
        model = matchlake(once, folder / layout, FLIGHTS, layout)
        ours = entries(spark.read.format("delta").load(str(folder / layout)), model, layout)
        different = rows_that_differ(ours, theirs)
        if different:
            raise SystemExit(f"{different} rows of layout {layout} differ from Spark ML's")
        shutil.rmtree(folder / layout)
    shutil.rmtree(folder / "theirs")
    return {
        "rows_compared": once.count(),
        "rows_that_differ": different,
        "columns": len(model.outputs()),
        "executions_of_fit": executions(spark, lambda: fit_features(once, FLIGHTS)),
        "executions_of_transform": executions(spark, lambda: model.transform(once, "sparse")),
    }


def one_row(once: DataFrame) -> float:
    """Microseconds of `transform_numpy` for one row."""
    model = fit_features(once, FLIGHTS)
    rows = random_rows(read_flights(), 2000)
    model.transform_numpy(rows[0])
    seconds = []
    for _ in range(5):
        begin = time.perf_counter()
        for row in rows:
            model.transform_numpy(row)
        seconds.append(time.perf_counter() - begin)
    return round(min(seconds) / len(rows) * 1e6, 1)


def flights(spark: SparkSession, options: argparse.Namespace, folder: Path, answer: Answer) -> None:
    """Ours and Spark ML, in turn, on all rows."""
    write_flights(folder / "flights", options.rows)
    frame = spark.read.parquet(str(folder / "flights"))
    ours = {
        each: timed(folder, partial(matchlake, frame, features=FLIGHTS, layout=each))
        for each in LAYOUTS
    }
    theirs = timed(folder, lambda out: spark_ml(frame, out, NUMBERS, CATEGORIES))
    answer |= {"matchlake_seconds": ours, "spark_ml_seconds": theirs}
    answer["ratio"]["spark_ml_sparse"] = round(ours["sparse"] / theirs, 3)
    answer["fit_seconds"] = timed(folder, lambda _: fit_features(frame, FLIGHTS))
    answer["ratio"]["spark_ml"] = round(ours["slots"] / theirs, 3)
    shutil.rmtree(folder / "flights")


def against_sklearn(
    spark: SparkSession, options: argparse.Namespace, folder: Path, answer: Answer
) -> None:
    """Ours and scikit-learn, both from the same Parquet files."""
    write_flights(folder / "few", options.sklearn_rows)
    frame = spark.read.parquet(str(folder / "few"))
    ours = timed(folder, lambda out: matchlake(frame, out, FLIGHTS))
    theirs = timed(
        folder, lambda out: scikit_learn(pd.read_parquet(folder / "few"), out.with_suffix(".npz"))
    )
    answer |= {"matchlake_few_seconds": ours, "sklearn_seconds": theirs}
    answer["ratio"]["sklearn"] = round(ours / theirs, 3)


def wide(spark: SparkSession, options: argparse.Namespace, folder: Path, answer: Answer) -> None:
    """A column of very many values: ours keeps a thousand, Spark ML has no cap."""
    write_wide(folder / "wide", options.wide_rows, options.wide_values)
    frame = spark.read.parquet(str(folder / "wide"))
    capped = feature_set(["x"], ["city"], cap=1000)
    ours = timed(folder, lambda out: matchlake(frame, out, capped, "slots"))
    try:
        theirs = timed(folder, lambda out: spark_ml(frame, out, ["x"], ["city"]))
    except Exception as error:  # noqa: BLE001 - running out of memory is a result here
        answer["spark_ml_wide_error"] = str(error)[:200]
        return
    answer |= {"matchlake_wide_seconds": ours, "spark_ml_wide_seconds": theirs}
    answer["ratio"]["wide_vocabulary"] = round(ours / theirs, 3)


def timed(folder: Path, run: Callable[[Path], object]) -> float:
    """Seconds of `run`, whose output is deleted."""
    out = folder / "out"
    begin = time.perf_counter()
    run(out)
    seconds = time.perf_counter() - begin
    shutil.rmtree(out, ignore_errors=True)
    out.with_suffix(".npz").unlink(missing_ok=True)
    return round(seconds, 1)


if __name__ == "__main__":
    main()
