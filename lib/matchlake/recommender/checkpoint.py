"""Checkpoints: a fit computes a frame once, keeps it, and reads it from there."""

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

Checkpointer = Callable[["DataFrame"], "DataFrame"]
"""Computes a frame, keeps it, and returns a frame that reads the kept rows.

A job passes one that writes Parquet or Delta, which outlives executors and the driver.
"""


def local_checkpoint(frame: "DataFrame") -> "DataFrame":
    """The default checkpoint: `localCheckpoint()`, lost if executors die."""
    return frame.localCheckpoint()
