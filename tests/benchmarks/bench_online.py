"""The online store: seconds to publish a table, and milliseconds of lookups by key at a fixed rate.

    python tests/benchmarks/bench_online.py --rows 1000000 --rate 500 --seconds 20 --json

Publishes lists of 10 rows per user from Parquet through Spark, to PostgreSQL and to an Arrow file,
twice: the second run replaces a table. Lookups start at fixed times (open loop), and their time
counts from then. Lookups also run while the table is replaced. PostgreSQL runs without fsync, on
this machine.
"""

import argparse
import json
import multiprocessing
import random
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from pyspark.sql import DataFrame, SparkSession
from tests.benchmarks.marks import with_marks
from tests.benchmarks.runs import pin, session, versions
from tests.support.postgres import running_postgres

from matchlake.lakehouse.online_publish import SparkRows
from matchlake.serve.online.arrow_files import ArrowStore
from matchlake.serve.online.stores import OnlineStore
from matchlake.serve.online.tables import Published

LENGTH = 10
KEYS = ("user_id", "rank")


def main() -> None:
    """Prints one line of JSON, or a table of text."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rate", type=int, default=500, help="lookups per second")
    parser.add_argument("--seconds", type=float, default=20, help="time of lookups per store")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--driver-memory", default="2g")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    pin(options.threads)
    with tempfile.TemporaryDirectory() as folder, running_postgres() as server:
        rows = SparkRows(_lists(session(options, Path(folder)), Path(folder), options.rows), KEYS)
        stores: tuple[OnlineStore, ...] = (server.store(), ArrowStore(Path(folder) / "online"))
        result: dict[str, Any] = {"bench": "online", "rows": options.rows, "rate": options.rate}
        result |= {store.kind: measure(store, rows, options) for store in stores}
    result["versions"] = versions("psycopg")
    result = with_marks("online", result)
    print(json.dumps(result) if options.json else json.dumps(result, indent=1))


def _lists(spark: SparkSession, folder: Path, rows: int) -> DataFrame:
    """Lists of users in Parquet, as gold.recommendations has them."""
    made = spark.sql(f"""
        SELECT concat('user-', user) AS user_id, CAST(rank AS INT) AS rank,
               concat('item-', hash(user, rank) % 12000) AS item_id, rand(1) AS score,
               '7' AS model_version, false AS is_cold_start
        FROM (SELECT id AS user FROM range({rows // LENGTH})),
             LATERAL (SELECT explode(sequence(1, {LENGTH})) AS rank)
    """)
    path = str(folder / "lists")
    made.write.parquet(path)
    return spark.read.parquet(path)


def measure(store: OnlineStore, rows: SparkRows, options: argparse.Namespace) -> dict[str, Any]:
    """Seconds of two publications, and milliseconds of lookups, alone and during a swap."""
    seconds = [publish(store, rows, version) for version in (1, 2)]
    at = (options.rows // LENGTH, options.rate)
    return {
        "publish_seconds": min(seconds),
        "lookup_ms": looked_up(store, *at, lambda: time.sleep(options.seconds)),
        "lookup_ms_while_publishing": looked_up(store, *at, lambda: publish(store, rows, 3)),
    }


def looked_up(
    store: OnlineStore, users: int, rate: int, meanwhile: Callable[[], object]
) -> dict[str, float]:
    """The figures of a process that looks users up while `meanwhile` runs here."""
    context = multiprocessing.get_context("spawn")
    stop, figures = context.Event(), context.SimpleQueue()
    reader = context.Process(target=lookups, args=(store, users, rate, stop, figures))
    reader.start()
    figures.get()  # it has begun
    meanwhile()
    stop.set()
    found: dict[str, float] = figures.get()
    reader.join()
    return found


def publish(store: OnlineStore, rows: SparkRows, version: int) -> float:
    """The seconds of one publication."""
    began = time.perf_counter()
    published = Published("gold.lists", version, "2024-05-01T10:00:00+00:00", KEYS)
    with store.locked("lists") as writer:
        writer.publish("lists", rows, published)
    return round(time.perf_counter() - began, 2)


def lookups(store: OnlineStore, users: int, rate: int, stop: Any, figures: Any) -> None:
    """Puts the milliseconds of lookups that start `rate` times a second until `stop` is set."""
    table, draw = store.open("lists"), random.Random(7)  # noqa: S311 - drawn users, no secret
    table.rows("user-0")
    figures.put(None)
    took = []
    due = time.perf_counter()
    while not stop.is_set():
        due += 1 / rate
        time.sleep(max(0.0, due - time.perf_counter()))
        found = table.rows(f"user-{draw.randrange(users)}")
        took.append((time.perf_counter() - due) * 1000)
        if len(found) != LENGTH:
            raise AssertionError(f"{len(found)} rows instead of {LENGTH}")
    p50, p99, p999 = np.percentile(took, [50, 99, 99.9])
    figures.put({"count": len(took), **_rounded(p50=p50, p99=p99, p999=p999)})


def _rounded(**figures: float) -> dict[str, float]:
    return {name: round(float(each), 3) for name, each in figures.items()}


if __name__ == "__main__":
    main()
