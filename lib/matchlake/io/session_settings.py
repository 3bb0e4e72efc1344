"""Settings of the Spark session for the length of a block; some platforms refuse them."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from py4j.protocol import Py4JError
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession


@contextmanager
def temporary_settings(spark: SparkSession, settings: Mapping[str, str]) -> Iterator[bool]:
    """Sets the settings for a block. If the platform refuses one, yields False and sets none."""
    before = {key: spark.conf.get(key, None) for key in settings}
    try:
        for key, value in settings.items():
            spark.conf.set(key, value)
    except (PySparkException, Py4JError):
        _restore(spark, before)
        yield False
        return
    try:
        yield True
    finally:
        _restore(spark, before)


def _restore(spark: SparkSession, before: Mapping[str, str | None]) -> None:
    for key, value in before.items():
        if spark.conf.get(key, None) == value:
            continue
        if value is None:
            spark.conf.unset(key)
        else:
            spark.conf.set(key, value)
