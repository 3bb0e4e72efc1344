"""Checkpoints: a fit computes a frame once, stores it, and reads the stored rows."""

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

Checkpointer = Callable[["DataFrame"], "DataFrame"]
"""Computes a frame, stores it, and returns a frame that reads the stored rows. Jobs pass a
checkpoint that writes Parquet or Delta, which survives the loss of executors and of the driver.
"""


def local_checkpoint(frame: "DataFrame") -> "DataFrame":
    """The default checkpoint: `localCheckpoint()`, lost if executors die."""
    return frame.localCheckpoint()
