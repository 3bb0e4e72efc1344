"""What all benchmarks of the engine set up alike: cores, a Spark session, versions."""

import argparse
import os
import platform
import sys
from importlib.metadata import version
from pathlib import Path

from pyspark.sql import SparkSession


def pin(cores: int) -> None:
    """Pins this process, and all that it starts, to the first `cores` cores."""
    os.sched_setaffinity(0, set(range(cores)))


def session(options: argparse.Namespace, folder: Path) -> SparkSession:
    """A local session on as many cores as every side has."""
    os.environ["PYSPARK_PYTHON"] = sys.executable
    os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
    settings = {
        "spark.driver.memory": options.driver_memory,
        "spark.sql.shuffle.partitions": str(2 * options.threads),
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.local.dir": str(folder / "spark"),
    }
    builder = SparkSession.builder.master(f"local[{options.threads}]")
    for key, value in settings.items():
        builder = builder.config(key, value)
    spark = builder.getOrCreate()
    spark.sparkContext.setLogLevel("ERROR")
    return spark


def versions(*peers: str) -> dict[str, str]:
    """Versions of what the engine stands on and of the peers that are packages of their own."""
    names = ("numpy", "numba", "pyarrow", "pyspark", *filter(None, peers))
    return {"python": platform.python_version()} | {name: version(name) for name in names}
