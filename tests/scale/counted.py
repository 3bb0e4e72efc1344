"""Runs a distributed fit on a local cluster, and tells what Spark counted: one JSON object.

python -m tests.scale.counted INTERACTIONS USERS ITEMS RANK BLOCKS FOLDER
"""

import json
import os
import sys
from pathlib import Path
from time import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.sql import SparkSession
from tests.scale.pairs import skewed_pairs

from matchlake.io.fit_checkpoints import FitCheckpoints
from matchlake.recommender.als.fit import fit_als
from matchlake.recommender.als.params import AlsParams

ITERATIONS = 3
SETTINGS = {
    "spark.eventLog.enabled": "true",
    "spark.eventLog.compress": "false",
    "spark.eventLog.rolling.enabled": "false",
    "spark.shuffle.compress": "false",
    "spark.sql.shuffle.partitions": "4",
    "spark.scheduler.minRegisteredResourcesRatio": "1.0",
    "spark.driver.memory": "1g",
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
}


def main() -> None:
    """Fits, then reads the event log."""
    numbers, folder = [int(text) for text in sys.argv[1:6]], Path(sys.argv[6])
    interactions, users, items, rank, blocks = numbers
    (folder / "events").mkdir()
    user, item, value = skewed_pairs(interactions, (users, items))
    table = pa.table({"user_id": user, "item_id": item, "weight": value.astype(np.float64)})
    pq.write_table(table, folder / "pairs.parquet")
    os.environ["PYSPARK_PYTHON"] = sys.executable
    builder = SparkSession.builder.master("local-cluster[4,1,1024]")
    settings = SETTINGS | {
        "spark.eventLog.dir": str(folder / "events"),
        "spark.local.dir": str(folder / "local"),
        "spark.executorEnv.PYTHONPATH": os.environ.get("PYTHONPATH", ""),
    }
    for key, setting in settings.items():
        builder = builder.config(key, setting)
    spark = builder.getOrCreate()
    times: list[float] = []
    params = AlsParams(
        rank=rank,
        iterations=ITERATIONS,
        checkpoint_interval=1,
        execution="distributed",
        blocks=blocks,
    )
    checkpoint = FitCheckpoints(spark, folder / "checkpoints")
    pairs = spark.read.parquet(str(folder / "pairs.parquet"))
    fit_als(pairs, params, checkpoint=checkpoint, callback=lambda _: times.append(time()))
    spark.stop()
    sys.stdout.write(json.dumps(counted(folder / "events", times[0], times[-1])) + "\n")


def counted(events: Path, begin: float, end: float) -> dict[str, float]:
    """Per iteration: bytes written to shuffles, spilled, and sent to the driver; tasks."""
    written, spilled, tasks, result = 0, 0, 0, 0
    (log,) = (path for path in events.rglob("*") if path.is_file())
    for line in log.read_text().splitlines():
        event = json.loads(line)
        metrics = event.get("Task Metrics")
        if event["Event"] != "SparkListenerTaskEnd" or not metrics:
            continue
        if begin * 1000 < event["Task Info"]["Finish Time"] <= end * 1000:
            written += metrics["Shuffle Write Metrics"]["Shuffle Bytes Written"]
            spilled += metrics["Disk Bytes Spilled"]
            result += metrics["Result Size"]
            tasks += 1
    steps = ITERATIONS - 1
    totals = {"written": written, "spilled": spilled, "result": result, "tasks": tasks}
    return {name: total / steps for name, total in totals.items()}


if __name__ == "__main__":
    main()
