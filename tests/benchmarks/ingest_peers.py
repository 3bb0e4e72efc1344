"""The streams that everyone writes, as peers of the ingestion benchmark."""

import argparse
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
from kafka import KafkaConsumer, TopicPartition
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from matchlake.ingest.schema import RAW

_AT_ONCE = 250_000
SCHEMA = "user_id STRING, item_id STRING, rating DOUBLE, event_time TIMESTAMP"


NARROW = (
    *("user_id", "item_id", "rating", "event_time"),
    *("topic", "partition", "offset", "kafka_timestamp"),
)


class Peer(NamedTuple):
    """Another way to do it."""

    run: Callable[[SparkSession, str, str, Path, argparse.Namespace], None]
    """Takes session, broker, topic, folder of `table` and `checkpoint`, options."""
    most: int | None = None
    """How many of the events it reads, where it is too slow for all; its rate is what counts."""
    columns: tuple[str, ...] = NARROW
    """Those in which its table has to be equal to ours."""


def from_json(
    spark: SparkSession, broker: str, topic: str, folder: Path, options: argparse.Namespace
) -> None:
    """Kafka, `from_json`, Delta append of the columns that ours has; no guarantee stands behind.

    What does not parse becomes null. Of which batch a row is it cannot tell: null.
    """
    made = {
        "_status": F.lit("valid"),
        "_error_code": F.lit(None).cast("string"),
        "_error_message": F.lit(None).cast("string"),
        RAW.name: F.lit(None).cast(RAW.type),
        "value_bytes": F.length("value"),
        "schema_version": F.lit(1),
        "attempt": F.lit(1),
        "checkpoint_id": F.lit(None).cast("bigint"),
        "batch_id": F.lit(None).cast("bigint"),
    }
    rows = _events(spark, broker, topic, options).withColumns(made)
    _append([*NARROW, *made], rows, folder)


def from_json_narrow(
    spark: SparkSession, broker: str, topic: str, folder: Path, options: argparse.Namespace
) -> None:
    """The same with the event's own columns and its position, and nothing else."""
    _append(list(NARROW), _events(spark, broker, topic, options), folder)


def _events(spark: SparkSession, broker: str, topic: str, options: argparse.Namespace) -> DataFrame:
    messages = (
        spark.readStream.format("kafka")
        .option("kafka.bootstrap.servers", broker)
        .option("subscribe", topic)
        .option("startingOffsets", "earliest")
        .option("maxOffsetsPerTrigger", options.batch)
        .load()
    )
    record = F.from_json(F.col("value").cast("string"), SCHEMA)
    return messages.withColumn("record", record).select(
        "record.*",
        "value",
        "topic",
        "partition",
        "offset",
        F.col("timestamp").alias("kafka_timestamp"),
    )


def _append(columns: list[str], rows: DataFrame, folder: Path) -> None:
    query = (
        rows.select(columns)
        .writeStream.format("delta")
        .option("checkpointLocation", str(folder / "checkpoint"))
        .trigger(availableNow=True)
        .start(str(folder / "table"))
    )
    query.awaitTermination()


def one_process(
    _spark: SparkSession, broker: str, topic: str, folder: Path, options: argparse.Namespace
) -> None:
    """kafka-python and deltalake in one process, without Spark: a million of the events."""
    from deltalake import write_deltalake  # noqa: PLC0415 - in the extra `bench` only

    consumer = KafkaConsumer(
        bootstrap_servers=broker,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        max_poll_records=10_000,
        fetch_max_bytes=2**26,
        max_partition_fetch_bytes=2**24,
    )
    places = [TopicPartition(topic, number) for number in range(options.partitions)]
    consumer.assign(places)
    consumer.seek_to_beginning()
    left = min(options.events, PEERS["one_process"].most or 0)
    while left:
        records: list[Any] = []
        while len(records) < min(left, _AT_ONCE):
            for some in consumer.poll(timeout_ms=1000).values():
                records += some
        records = records[:left]
        left -= len(records)
        rows = pa.Table.from_pylist([json.loads(record.value) for record in records])
        times = pa.array([record.timestamp for record in records], pa.timestamp("ms", "UTC"))
        at = rows.schema.get_field_index("event_time")
        stamps = rows.column(at).cast(pa.timestamp("us", "UTC"))
        rows = rows.set_column(at, "event_time", stamps)
        rows = rows.append_column("partition", pa.array([r.partition for r in records], pa.int32()))
        rows = rows.append_column("offset", pa.array([r.offset for r in records], pa.int64()))
        rows = rows.append_column("kafka_timestamp", times.cast(pa.timestamp("us", "UTC")))
        write_deltalake(os.fspath(folder / "table"), rows, mode="append")
    consumer.close()


_SAME = (
    "_status",
    "_error_code",
    "_error_message",
    RAW.name,
    "value_bytes",
    "schema_version",
    "attempt",
)
PEERS = {
    "from_json": Peer(from_json, columns=(*NARROW, *_SAME)),
    "from_json_narrow": Peer(from_json_narrow),
    "one_process": Peer(one_process, most=1_000_000),
}
