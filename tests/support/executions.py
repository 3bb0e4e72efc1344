"""Counts what Spark was made to run."""

from collections.abc import Callable

from pyspark.sql import DataFrame, SparkSession


def executions(spark: SparkSession, run: Callable[[], object]) -> int:
    """How many SQL executions `run` started; classic Spark only."""
    before = _last_number(spark)
    run()
    return _last_number(spark) - before


def _last_number(spark: SparkSession) -> int:
    """The number of the latest execution: it grows by one each, whatever the store forgets."""
    spark.sparkContext._jsc.sc().listenerBus().waitUntilEmpty()
    known = spark._jsparkSession.sharedState().statusStore().executionsList()
    return int(known.last().executionId()) if known.nonEmpty() else -1


def collected(frame: DataFrame) -> list[tuple[object, ...]]:
    """The rows as tuples, in an order of their own."""
    return sorted((tuple(row) for row in frame.collect()), key=repr)
