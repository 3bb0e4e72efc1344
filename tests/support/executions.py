"""Counts what Spark was made to run."""

from collections.abc import Callable

from pyspark.sql import DataFrame, SparkSession


def executions(spark: SparkSession, run: Callable[[], object]) -> int:
    """How many SQL executions `run` started; classic Spark only."""
    bus = spark.sparkContext._jsc.sc().listenerBus()
    store = spark._jsparkSession.sharedState().statusStore()
    bus.waitUntilEmpty()
    before = store.executionsCount()
    run()
    bus.waitUntilEmpty()
    return int(store.executionsCount() - before)


def collected(frame: DataFrame) -> list[tuple[object, ...]]:
    """The rows as tuples, in an order of their own."""
    return sorted((tuple(row) for row in frame.collect()), key=repr)
