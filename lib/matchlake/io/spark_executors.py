"""The tasks of each executor, so that the log shows how work was distributed."""

import logging
from typing import Any

from py4j.protocol import Py4JError
from pyspark.sql import SparkSession

_log = logging.getLogger("matchlake")
_DRIVER = "driver"


def tasks_by_executor(spark: SparkSession) -> dict[str, int]:
    """The number of tasks per executor of this session's application, ended executors included.

    Spark keeps these counts even without its web page, but only the JVM gives access to them. Over
    Spark Connect, which has no such access, the result is empty.
    """
    context: Any = getattr(spark, "_jsc", None)
    if context is None:
        return {}
    summaries = context.sc().statusStore().executorList(False)  # noqa: FBT003 - ended ones included
    executors = (summaries.apply(at) for at in range(summaries.size()))
    return {each.id(): each.totalTasks() for each in executors if each.id() != _DRIVER}


def log_executors(spark: SparkSession) -> None:
    """Logs the tasks per executor. Logs nothing for a single process, or if they are unknown."""
    try:
        counts = {name: count for name, count in tasks_by_executor(spark).items() if count}
    except Py4JError as error:
        _log.debug("The tasks per executor are not known: %s", error)
        return
    if counts:
        listed = ", ".join(f"executor {name}: {count}" for name, count in sorted(counts.items()))
        _log.info("tasks ran on %d executor(s): %s", len(counts), listed)
