"""Grouped rows handed to a task as Arrow tables.

Spark counts the arguments of a function and would count `self` of a callable object, so each task
is wrapped here, once.
"""

from collections.abc import Callable
from typing import Any

import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql.types import StructType

Key = tuple[Any, ...]
"""The values of the grouping columns, as Arrow scalars."""


def apply_by_group(
    frame: DataFrame,
    by: tuple[str, ...],
    task: Callable[[Key, pa.Table], pa.Table],
    schema: StructType | str,
) -> DataFrame:
    """Calls `task` with the key and the rows of each group; lazy."""

    def call(key: Key, table: pa.Table) -> pa.Table:
        return task(key, table)

    return frame.groupBy(*by).applyInArrow(call, schema)


def apply_by_cogroup(
    left: DataFrame,
    right: DataFrame,
    by: str,
    task: Callable[[Key, pa.Table, pa.Table], pa.Table],
    schema: StructType | str,
) -> DataFrame:
    """Calls `task` for each key, with the key and the rows of both frames; lazy."""

    def call(key: Key, left: pa.Table, right: pa.Table) -> pa.Table:
        return task(key, left, right)

    return left.groupBy(by).cogroup(right.groupBy(by)).applyInArrow(call, schema)
