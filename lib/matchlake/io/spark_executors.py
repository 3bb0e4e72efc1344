"""Which executors of a cluster worked for a session: the log's proof that work was spread."""

import logging
from typing import Any

from py4j.protocol import Py4JError
from pyspark.sql import SparkSession

_log = logging.getLogger("matchlake")
_DRIVER = "driver"


def tasks_by_executor(spark: SparkSession) -> dict[str, int]:
    """How many tasks each executor has run for this session's application, ended ones too.

    Spark keeps these counts whether or not its page is on, but gives them to Python in no other
    way; over Spark Connect, where that way is closed, the answer is empty.
    """
    context: Any = getattr(spark, "_jsc", None)
    if context is None:
        return {}
    summaries = context.sc().statusStore().executorList(False)  # noqa: FBT003 - ended ones too
    found = (summaries.apply(at) for at in range(summaries.size()))
    return {each.id(): each.totalTasks() for each in found if each.id() != _DRIVER}


def log_executors(spark: SparkSession) -> None:
    """Logs the tasks of each executor; silent in one process, over Connect and where not told."""
    try:
        counts = {name: count for name, count in tasks_by_executor(spark).items() if count}
    except Py4JError as error:
        _log.debug("Spark does not tell which executors ran tasks: %s", error)
        return
    if counts:
        listed = ", ".join(f"executor {name}: {count}" for name, count in sorted(counts.items()))
        _log.info("tasks ran on %d executor(s): %s", len(counts), listed)
