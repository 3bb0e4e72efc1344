"""Streams for tests: a runtime of their own folder, a stream like that of conf, and a producer."""

import json
import runpy
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from kafka import KafkaProducer
from pyspark.sql import SparkSession

from matchlake.config import JobConfig
from matchlake.dev.sandbox.topics import client_options, create_topic
from matchlake.ingest.streams.audit import BatchLog
from matchlake.ingest.streams.entries import Counts
from matchlake.ingest.streams.runner import PreparedStream
from matchlake.io.brokers import Broker
from matchlake.io.delta import Lakehouse
from matchlake.io.mlflow_tracking import Tracker
from matchlake.io.secrets import EnvironmentSecrets
from matchlake.runtime import Runtime

COLUMNS: dict[str, Any] = {
    "user_id": {"type": "string", "comment": "user"},
    "item_id": {"type": "string", "comment": "item"},
    "rating": {"type": "double", "min": 0.5, "max": 5, "comment": "rating"},
    "event_time": {"type": "timestamp", "comment": "when"},
}


def stream_entry(topic: str, name: str, **changes: Any) -> dict[str, Any]:
    """A stream as conf declares it, its table and views below schema `name`."""
    return {
        "topic": topic,
        "table": f"{name}.events",
        "valid_view": f"{name}.valid",
        "quarantine_view": f"{name}.quarantine",
        "comment": "Test.",
        "event_time": "event_time",
        "columns": COLUMNS,
        **changes,
    }


def runtime_in(spark: SparkSession, folder: Path, **keys: Any) -> Runtime:
    """A runtime whose lakehouse and checkpoints lie in `folder`, with more keys of the config."""
    config = JobConfig.model_validate(
        {
            "env": "test",
            "lakehouse": str(folder),
            "checkpoints": str(folder / "checkpoints"),
            **keys,
        }
    )
    return Runtime(
        spark,
        config,
        Lakehouse(spark, None, config.warehouse),
        EnvironmentSecrets(),
        Tracker(config.tracking, config.lakehouse),
    )


def valid_value(number: int, **changes: Any) -> bytes:
    """The value of a valid record."""
    fields = {
        "user_id": f"u{number}",
        "item_id": f"i{number % 7}",
        "rating": 1 + number % 5,
        "event_time": f"2024-05-01T10:{number // 60 % 60:02d}:{number % 60:02d}Z",
    }
    return json.dumps(fields | changes).encode()


def one_stream(spark: SparkSession, folder: Path, broker: str, name: str, **keys: Any) -> Runtime:
    """A runtime with one stream, `name`, whose topic is made; tables below schema `name`."""
    create_topic(broker, name, keys.pop("partitions", 1))
    return runtime_in(
        spark,
        folder,
        kafka={"bootstrap_servers": broker},
        ingest={"batch_log": f"{name}.batches"},
        streams={name: stream_entry(name, name, **keys)},
    )


def with_ingest(runtime: Runtime, **keys: Any) -> Runtime:
    """The same with other keys below `ingest`."""
    ingest = runtime.config.ingest.model_copy(update=keys)
    return replace(runtime, config=runtime.config.model_copy(update={"ingest": ingest}))


def with_stream(runtime: Runtime, **keys: Any) -> Runtime:
    """The same with other keys of its one stream."""
    ((name, stream),) = runtime.config.streams.items()
    streams = {name: stream.model_copy(update=keys)}
    return replace(runtime, config=runtime.config.model_copy(update={"streams": streams}))


def batch_log_of(runtime: Runtime) -> BatchLog:
    """The batch log of its one stream."""
    ((name, stream),) = runtime.config.streams.items()
    return BatchLog(name, stream, runtime.config.ingest.batch_log, runtime.lakehouse)


def ingest(runtime: Runtime) -> Counts:
    """Runs the job, then reconciles its stream; raises the errors of both."""
    INGEST_EVENTS(runtime)
    return batch_log_of(runtime).reconcile().total


def prepared_streams(runtime: Runtime) -> list[PreparedStream]:
    """The streams as the job has them before they start."""
    return list(JOB["prepare"](runtime))


JOB = runpy.run_path("jobs/ingest_events.py")
INGEST_EVENTS = JOB["run"]


def produce(
    address: Broker | str, topic: str, values: Iterable[bytes | None], partition: int = 0
) -> None:
    """Appends the values to one partition, in order, each with key `k`."""
    producer = KafkaProducer(**client_options(address), max_request_size=4_000_000)
    for value in values:
        producer.send(topic, value, b"k", partition=partition)
    producer.flush(timeout=30)
    producer.close(timeout=5)
