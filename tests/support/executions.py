"""Counts what Spark was made to run."""

from collections.abc import Callable

from pyspark.sql import DataFrame, SparkSession


def executions(spark: SparkSession, run: Callable[[], object]) -> int:
    """How many SQL executions `run` started; classic Spark only."""
    # Numbers are given out one by one, whatever the status store has forgotten by then.
    numbers = spark._jvm.org.apache.spark.sql.execution.SQLExecution
    before = numbers.nextExecutionId()
    run()
    return int(numbers.nextExecutionId() - before - 1)


def collected(frame: DataFrame) -> list[tuple[object, ...]]:
    """The rows as tuples, in an order of their own."""
    return sorted((tuple(row) for row in frame.collect()), key=repr)
