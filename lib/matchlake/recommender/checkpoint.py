"""The cut of a plan's lineage, which a fit needs and its caller provides."""

from collections.abc import Callable

from pyspark.sql import DataFrame

Cut = Callable[[DataFrame], DataFrame]
"""Computes a frame, keeps it, and gives it back as a frame that reads what was kept.

A job writes Parquet or Delta, which outlives executors and the driver.
"""


def keep_locally(frame: DataFrame) -> DataFrame:
    """The cut for want of a better one: a local checkpoint, which lives as its executors do."""
    return frame.localCheckpoint()
