"""Values that a task of a workflow leaves for the tasks after it."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_log = logging.getLogger(__name__)
_collected: ContextVar[dict[str, str] | None] = ContextVar("task_values", default=None)


def set_task_value(key: str, value: str) -> None:
    """Leaves `value` under `key`: for Databricks' workflow, or for whoever collects it here.

    Where no workflow runs the task, it is nothing but a line in the log.
    """
    collected = _collected.get()
    if collected is not None:
        collected[key] = value
    elif "DATABRICKS_RUNTIME_VERSION" in os.environ:
        # What a cluster's Python is given; elsewhere this import would ask for a workspace.
        from databricks.sdk.runtime import dbutils  # noqa: PLC0415

        dbutils.jobs.taskValues.set(key=key, value=value)
    _log.info("task value %s = %s", key, value)


@contextmanager
def collected_task_values() -> Iterator[dict[str, str]]:
    """Within it, the values that tasks of this process leave are in the mapping it gives."""
    values: dict[str, str] = {}
    token = _collected.set(values)
    try:
        yield values
    finally:
        _collected.reset(token)
