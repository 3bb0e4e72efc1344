"""A distributed fit on a local cluster that loses an executor in mid-fit; prints the outcome.

python -m tests.support.losing_executor FOLDER
"""

import json
import os
import sys
import threading
import time
from pathlib import Path

import numpy as np
import psutil
from pyspark.sql import DataFrame, SparkSession

from matchlake.recommender.als import AlsParams, fit_als

STAGES_BEFORE = 4
"""Stages of the stretch that are finished when the executor is killed."""

SETTINGS = {
    "spark.driver.memory": "1g",
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    "spark.sql.shuffle.partitions": "2",
    "spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=1",
    "spark.executor.extraJavaOptions": "-XX:TieredStopAtLevel=1",
}


def main(folder: Path) -> None:
    """Fits twice, once undisturbed in one task, and compares."""
    os.environ["PYSPARK_PYTHON"] = sys.executable
    builder = SparkSession.builder.master("local-cluster[2,1,1024]")
    for key, value in SETTINGS.items():
        builder = builder.config(key, value)
    spark = builder.getOrCreate()
    rng = np.random.default_rng(0)
    keys = rng.choice(200 * 60, 3000, replace=False)
    rows = [(int(key) // 60, int(key) % 60, 1.0 + int(key) % 4) for key in keys]
    pairs = spark.createDataFrame(rows, "user_id int, item_id int, strength double")
    params = AlsParams(rank=16, iterations=6, cut_every=6, blocks=3, schedule="distributed")
    cuts: list[str] = []
    killed: list[dict[str, int]] = []

    def cut(frame: DataFrame) -> DataFrame:
        cuts.append(str(folder / f"{len(cuts)}"))
        stretch = "loss" in frame.columns
        killer = threading.Thread(target=lambda: killed.append(kill_one(spark)))
        if stretch:
            killer.start()
        frame.write.parquet(cuts[-1])
        if stretch:
            killer.join()
        return spark.read.parquet(cuts[-1])

    lost = factors(fit_als(pairs, params, cut=cut).items)
    quiet = params.model_copy(update={"schedule": "one-task"})
    kept = factors(fit_als(pairs, quiet).items)
    print(json.dumps({**killed[0], "difference": float(np.abs(lost - kept).max())}))  # noqa: T201
    spark.stop()


def kill_one(spark: SparkSession) -> dict[str, int]:
    """Kills an executor once the running job has some finished stages; tells how many it had."""
    tracker = spark.sparkContext.statusTracker()
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        for job in tracker.getActiveJobsIds():
            info = tracker.getJobInfo(job)
            stages = [tracker.getStageInfo(stage) for stage in (info.stageIds if info else [])]
            running = [s for s in stages if s is not None and s.numActiveTasks]
            finished = [s for s in stages if s is not None and s.numCompletedTasks == s.numTasks]
            if len(finished) >= STAGES_BEFORE and running:
                executors = [p for p in psutil.Process().children(recursive=True) if is_executor(p)]
                executors[0].kill()
                return {"executors": len(executors), "finished_stages": len(finished)}
        time.sleep(0.02)
    message = "the fit was over before an executor could be killed"
    raise TimeoutError(message)


def is_executor(process: psutil.Process) -> bool:
    """Whether a process is the JVM of an executor."""
    try:
        return any("CoarseGrainedExecutorBackend" in word for word in process.cmdline())
    except psutil.Error:
        return False


def factors(items: DataFrame) -> np.ndarray:
    """Item factors by index."""
    return np.array([row["factors"] for row in items.orderBy("item_idx").collect()])


if __name__ == "__main__":
    main(Path(sys.argv[1]))
