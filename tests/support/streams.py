"""Streams for tests: a runtime of their own folder, a stream like that of conf, and a producer."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from kafka import KafkaProducer
from pyspark.sql import SparkSession

from matchlake.config import JobConfig
from matchlake.io.delta import Lakehouse
from matchlake.io.secrets import EnvironmentSecrets
from matchlake.io.tracking import Tracker
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
        "good_view": f"{name}.good",
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


def produce(address: str, topic: str, values: Iterable[bytes | None], partition: int = 0) -> None:
    """Appends the values to one partition, in order, each with key `k`."""
    producer = KafkaProducer(bootstrap_servers=address, max_request_size=4_000_000)
    for value in values:
        producer.send(topic, value, b"k", partition=partition)
    producer.flush(timeout=30)
    producer.close(timeout=5)
