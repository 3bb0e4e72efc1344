"""Tags of Spark jobs, by which another thread cancels them.

`SparkSession.interruptTag` of classic Spark 4 finds the tags of its own thread alone, so it cancels
nothing from another thread. The Spark context can. Spark Connect needs no context for this.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pyspark.sql import SparkSession


@contextmanager
def job_tag(spark: SparkSession, tag: str) -> Iterator[None]:
    """Gives the Spark jobs of this thread a tag, until the block ends."""
    context = _context(spark)
    add, remove = (
        (spark.addTag, spark.removeTag)
        if context is None
        else (context.addJobTag, context.removeJobTag)
    )
    add(tag)
    try:
        yield
    finally:
        remove(tag)


def cancel_jobs(spark: SparkSession, tag: str) -> None:
    """Cancels the running Spark jobs with a tag; their threads get the error of Spark."""
    context = _context(spark)
    if context is None:
        spark.interruptTag(tag)
    else:
        context.cancelJobsWithTag(tag)


def _context(spark: SparkSession) -> Any:
    return getattr(spark, "_sc", None)
