"""Task values: a task of a workflow sets them, later tasks read them."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from matchlake.io.databricks import on_databricks

_log = logging.getLogger(__name__)
_collected: ContextVar[dict[str, str] | None] = ContextVar("task_values", default=None)


def set_task_value(key: str, value: str) -> None:
    """Sets `key` for later tasks, on Databricks or within `collected_task_values`.

    Without a workflow it only logs the value.
    """
    collected = _collected.get()
    if collected is not None:
        collected[key] = value
    elif on_databricks():
        # Only in the Python of a cluster; elsewhere this import would connect to a workspace.
        from databricks.sdk.runtime import dbutils  # noqa: PLC0415

        dbutils.jobs.taskValues.set(key=key, value=value)
    _log.info("task value %s = %s", key, value)


@contextmanager
def collected_task_values() -> Iterator[dict[str, str]]:
    """A context with a mapping of the values that tasks of this process set."""
    values: dict[str, str] = {}
    token = _collected.set(values)
    try:
        yield values
    finally:
        _collected.reset(token)
