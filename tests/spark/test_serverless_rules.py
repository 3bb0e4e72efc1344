"""The rules of serverless compute bite: what it refuses is refused here, what it takes passes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession
from tests.support.serverless import Refused, serverless_rules

pytestmark = pytest.mark.connect_only

REFUSED: dict[str, Callable[[SparkSession], Any]] = {
    "cache": lambda spark: spark.range(3).cache(),
    "persist": lambda spark: spark.range(3).persist(),
    "checkpoint": lambda spark: spark.range(3).checkpoint(),
    "localCheckpoint": lambda spark: spark.range(3).localCheckpoint(),
    "cacheTable": lambda spark: spark.catalog.cacheTable("t"),
    "CACHE TABLE": lambda spark: spark.sql("CACHE TABLE t"),
    "global view": lambda spark: spark.range(3).createGlobalTempView("v"),
    "global view by SQL": lambda spark: spark.sql("CREATE GLOBAL TEMP VIEW v AS SELECT 1"),
    "a setting": lambda spark: spark.conf.set("spark.executor.memory", "1g"),
    "a setting by SQL": lambda spark: spark.sql("SET spark.sql.adaptive.enabled = false"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_serverless_refuses(spark: SparkSession, what: str) -> None:
    with serverless_rules(), pytest.raises(Refused, match="NOT_SUPPORTED_WITH_SERVERLESS"):
        REFUSED[what](spark)


def test_serverless_rejects_settings_of_a_builder() -> None:
    builder = SparkSession.builder.config("spark.sql.adaptive.enabled", "false")
    with serverless_rules(), pytest.raises(Refused, match="NOT_SUPPORTED_WITH_SERVERLESS"):
        builder.getOrCreate()


@pytest.mark.parametrize("trigger", [None, {"processingTime": "1 second"}])
def test_serverless_refuses_streams_without_end(
    spark: SparkSession, tmp_path: Path, trigger: dict[str, Any] | None
) -> None:
    writer = spark.readStream.format("rate").load().writeStream.format("noop")
    writer = writer.option("checkpointLocation", str(tmp_path))
    writer = writer.trigger(**trigger) if trigger else writer
    with serverless_rules(), pytest.raises(Refused, match="INFINITE_STREAMING_TRIGGER"):
        writer.start()


def test_code_that_serverless_accepts_passes(spark: SparkSession) -> None:
    with serverless_rules():
        spark.conf.set("spark.sql.shuffle.partitions", "2")
        spark.range(3).createOrReplaceTempView("three")
        assert spark.sql("SELECT count(*) FROM three").collect()[0][0] == 3
