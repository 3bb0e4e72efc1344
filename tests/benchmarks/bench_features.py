"""Feature sets against Spark ML and scikit-learn: fit + transform + write, on the same data.

    python tests/benchmarks/bench_features.py --rows 20000000 --json

Flights out of New York (336,776 rows, repeated), six numbers scaled by minimum and maximum, six
texts of 3 to 4,043 values one-hot; then a text of a million values, spread by Zipf's law, of which
a thousand are kept. All sides read the same Parquet files in the same session and write Delta (but
scikit-learn a matrix), in turn, the median of some rounds, after a small warm-up.

Ours is timed in both layouts that suit so many categories. A ratio by a peer's name alone is that
of `index`, which README recommends for them: a column for each number, and one for each feature
with the index of its one. With `_sparse` behind it, it is that of `sparse`: one column of lists of
indices and values, the form in which Spark ML writes them. Before anything is timed the pairs of
index and value of both are compared with Spark ML's on every distinct row; and before scikit-learn
is timed, its columns with ours of the same feature and category. Spark ML has no limit of its own
for one-hot columns: `wide_spark_ml` is the ratio to its pipeline without one,
`wide_spark_ml_top` to its CountVectorizer, which has one. Memory is that of this process and
its JVM, which all sides share: the JVM gives none back, so a side's peak can be that of one before.
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
from pyspark.sql import DataFrame, SparkSession
from tests.benchmarks.engine_peers import build_with, plain_duckdb, plain_polars
from tests.benchmarks.feature_peers import (
    ML_VECTOR,
    entries,
    feature_set,
    matchlake,
    random_rows,
    rows_that_differ,
    scikit_learn,
    spark_ml,
    spark_ml_top,
    unlike_scikit_learn,
)
from tests.benchmarks.flights import CATEGORIES, NUMBERS, read_flights, write_flights, write_wide
from tests.benchmarks.marks import with_marks
from tests.benchmarks.memory import PeakMemory
from tests.benchmarks.rounds import Side, in_turn, ratio
from tests.support.executions import executions

from matchlake.features.fit import fit_features
from matchlake.features.model import Layout
from matchlake.features.params import EngineName

FLIGHTS = feature_set(NUMBERS, CATEGORIES)
ENGINES: tuple[EngineName, ...] = ("spark", "duckdb")
LAYOUTS: tuple[Layout, ...] = ("index", "sparse")
DISTINCT = 336_776
KEPT = 1000
"""Categories of the wide column that are kept."""
Answer = dict[str, Any]


@dataclass(frozen=True)
class Bench:
    """What every part needs, and the answer that it adds to."""

    spark: SparkSession
    options: argparse.Namespace
    folder: Path
    memory: PeakMemory
    answer: Answer

    def time(self, part: str, sides: dict[str, Side], **more: Any) -> None:
        """Adds what `in_turn` finds to the sides of the answer."""
        found = in_turn(sides, self.folder, self.options.rounds, self.memory, **more)
        self.answer["sides"].setdefault(part, {}).update(found)

    def compare(self, name: str, part: str, theirs: str) -> None:
        """Adds the ratios of our medians to a peer's: by its name that of `index`, and of lists."""
        sides = self.answer["sides"][part]
        self.answer["ratio"][name] = ratio(sides, "matchlake_index", theirs)
        self.answer["ratio"][f"{name}_sparse"] = ratio(sides, "matchlake_sparse", theirs)


def main() -> None:
    """Runs what the command line asks for, and prints what was found, whatever fails on the way."""
    options = arguments()
    os.sched_setaffinity(0, set(range(options.threads)))
    answer: Answer = {"better": "lower", "ratio": {}, "sides": {}}
    answer |= {"rows": options.rows, "rounds": options.rounds}
    with tempfile.TemporaryDirectory(dir=options.folder) as name, PeakMemory() as memory:
        folder = Path(name)
        try:
            problem_ = Bench(session(options, folder), options, folder, memory, answer)
            check(problem_)
            for part in options.parts.split(","):
                PARTS[part](problem_)
            problem_.spark.stop()
        finally:
            report(answer, in_json=options.json)


def report(answer: Answer, *, in_json: bool) -> None:
    """The figures as lines, and as one line of JSON."""
    for part, sides in answer["sides"].items():
        for side, told in sides.items():
            print(f"{part:10} {side:22}", *(f"{key}={value}" for key, value in told.items()))
    for key, value in answer.items():
        if key != "sides":
            print(f"{key:33} {value}")
    if in_json:
        print(json.dumps(with_marks("features", answer)), flush=True)


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=20_000_000)
    parser.add_argument("--sklearn-rows", type=int, default=5_000_000)
    parser.add_argument("--engine-rows", type=int, default=5_000_000)
    parser.add_argument("--wide-rows", type=int, default=5_000_000)
    parser.add_argument("--wide-values", type=int, default=1_000_000)
    parser.add_argument("--parts", default="engines,spark_ml,sklearn,wide")
    parser.add_argument("--rounds", type=int, default=3, help="of every side, in turn")
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


def check(problem_: Bench) -> None:
    """Both outputs on every distinct row, which warms both sides up; raises where they differ."""
    spark, folder = problem_.spark, problem_.folder
    write_flights(folder / "once", DISTINCT)
    once = spark.read.parquet(str(folder / "once"))
    spark_ml(once, folder / "theirs", NUMBERS, CATEGORIES)
    files = spark.read.schema(f"id BIGINT, {ML_VECTOR}").parquet(str(folder / "theirs"))
    theirs = files.select("id", "features.indices", "features.values")
    different = {}
    for layout in LAYOUTS:
        model = matchlake(once, folder / layout, FLIGHTS, layout)
        ours = entries(spark.read.format("delta").load(str(folder / layout)), model, layout)
        different[layout] = rows_that_differ(ours, theirs)
        shutil.rmtree(folder / layout)
    shutil.rmtree(folder / "theirs")
    problem_.answer.update(
        rows_compared=once.count(),
        rows_that_differ=different,
        columns=len(model.outputs()),
        executions_of_fit=executions(spark, lambda: fit_features(once, FLIGHTS)),
        executions_of_transform=executions(spark, lambda: model.transform(once, "sparse")),
        one_row_microseconds=one_row(once),
    )
    if any(different.values()):
        raise SystemExit(f"rows differ from Spark ML's, by layout: {different}")


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


def flights(problem_: Bench) -> None:
    """Ours in both layouts and Spark ML on all rows."""
    write_flights(problem_.folder / "flights", problem_.options.rows)
    frame = problem_.spark.read.parquet(str(problem_.folder / "flights"))
    ours: dict[str, Side] = {
        f"matchlake_{layout}": partial(matchlake, frame, features=FLIGHTS, layout=layout)
        for layout in LAYOUTS
    }
    theirs: dict[str, Side] = {"spark_ml": lambda out: spark_ml(frame, out, NUMBERS, CATEGORIES)}
    fit: dict[str, Side] = {"matchlake_fit_alone": lambda _: fit_features(frame, FLIGHTS)}
    problem_.time("flights", ours | theirs | fit)
    problem_.compare("spark_ml", "flights", "spark_ml")
    shutil.rmtree(problem_.folder / "flights")


def against_sklearn(problem_: Bench) -> None:
    """Ours and scikit-learn, both from the same Parquet files."""
    problem_.answer["sklearn_check"] = same_as_sklearn(problem_)
    folder = problem_.folder / "few"
    write_flights(folder, problem_.options.sklearn_rows)
    frame = problem_.spark.read.parquet(str(folder))
    sides: dict[str, Side] = {
        f"matchlake_{layout}": partial(matchlake, frame, features=FLIGHTS, layout=layout)
        for layout in LAYOUTS
    }
    sides["sklearn"] = lambda out: scikit_learn(pd.read_parquet(folder), out)
    problem_.time("sklearn", sides)
    problem_.compare("sklearn", "sklearn", "sklearn")


def same_as_sklearn(problem_: Bench) -> Answer:
    """What differs on every distinct row, and which columns only one of the two has."""
    ours, theirs = problem_.folder / "ours", problem_.folder / "theirs"
    once = problem_.spark.read.parquet(str(problem_.folder / "once"))
    model = matchlake(once, ours, FLIGHTS)
    found = scikit_learn(pd.read_parquet(problem_.folder / "once").sort_values("id"), theirs)
    written = problem_.spark.read.format("delta").load(str(ours))
    different, alone = unlike_scikit_learn(written, model, *found)
    for folder in (ours, theirs):
        shutil.rmtree(folder)
    return {"rows_that_differ": different, "columns_of_one_side": alone}


def wide(problem_: Bench) -> None:
    """A column of very many values, of which a thousand are kept; and Spark ML without a limit.

    `found` is the number of ones in a side's output. The side without a limit comes last, alone,
    as it may take the session with it.
    """
    options = problem_.options
    write_wide(problem_.folder / "wide", options.wide_rows, options.wide_values)
    frame = problem_.spark.read.parquet(str(problem_.folder / "wide"))
    capped = feature_set(["x"], ["city"], cap=KEPT)
    sides: dict[str, Side] = {
        f"matchlake_{layout}": partial(matchlake, frame, features=capped, layout=layout)
        for layout in LAYOUTS
    }
    sides["spark_ml_top"] = lambda out: spark_ml_top(frame, out, "x", "city", KEPT)
    look = partial(ones, problem_.spark)
    problem_.time("wide", sides, look=look)
    problem_.compare("wide_spark_ml_top", "wide", "spark_ml_top")
    whole: dict[str, Side] = {"spark_ml": lambda out: spark_ml(frame, out, ["x"], ["city"])}
    problem_.time("wide", whole, look=look)
    problem_.compare("wide_spark_ml", "wide", "spark_ml")


def ones(spark: SparkSession, out: Path) -> int:
    """The ones of the category in a written table of any layout; place 0 is the number's."""
    frame = spark.read.schema("city INT, features STRUCT<indices: ARRAY<INT>>").parquet(str(out))
    listed = "size(filter(features.indices, place -> place > 0))"
    total = f"count(city) + sum(if(features.indices IS NULL, 0, {listed}))"
    return int(frame.selectExpr(total).collect()[0][0])


def engines(problem_: Bench) -> None:
    """The whole build of a feature table by both engines, and plain DuckDB and Polars.

    The source is a Delta table, read by the peers as files; all write the `index` layout.
    """
    options, spark = problem_.options, problem_.spark
    files, source = problem_.folder / "files", problem_.folder / "source"
    write_flights(files, options.engine_rows)
    spark.read.parquet(str(files)).write.format("delta").save(str(source))
    shutil.rmtree(files)
    sides: dict[str, Side] = {
        f"build_{name}": partial(build_with, name, spark, source, FLIGHTS) for name in ENGINES
    }
    sides["duckdb"] = lambda out: plain_duckdb(source, out, NUMBERS, CATEGORIES, options.threads)
    sides["polars"] = lambda out: plain_polars(source, out, NUMBERS, CATEGORIES)
    problem_.time("engines", sides)
    found = problem_.answer["sides"]["engines"]
    for ours in ENGINES:
        for theirs in ("duckdb", "polars"):
            name = f"engine_{ours}_{theirs}"
            problem_.answer["ratio"][name] = ratio(found, f"build_{ours}", theirs)


PARTS = {"engines": engines, "spark_ml": flights, "sklearn": against_sklearn, "wide": wide}


if __name__ == "__main__":
    main()
