"""How long an event takes from Kafka to a row that can be queried, in a stream that lasts."""

import argparse
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from kafka import KafkaProducer
from pyspark.sql import SparkSession
from tests.support.streams import (
    batch_log_of,
    one_stream,
    prepared_streams,
    valid_value,
    with_ingest,
)

from matchlake.ingest.streams.runner import follow

_TICKS = 50
"""How often a second the producer sends its share."""


def latency(
    spark: SparkSession, root: Path, broker: str, options: argparse.Namespace
) -> dict[str, Any]:
    """Percentiles in seconds, over all events; also proves that none is missing."""
    runtime = with_ingest(
        one_stream(spark, root / "ours", broker, "lasting", partitions=2),
        trigger=options.trigger,
        batch_log_interval_seconds=20,
    )
    events = options.rate * options.continuous
    command = [sys.executable, "-m", __name__, broker, str(options.rate), str(options.continuous)]
    read = 0
    streams = follow(prepared_streams(runtime), runtime.config.ingest)
    with subprocess.Popen(command) as producer:
        for _, counts in streams:
            read += counts.valid
            if read >= events:
                break
        assert producer.wait() == 0
    streams.close()
    counts = batch_log_of(runtime).reconcile().total
    rows = spark.table("lasting.events").join(
        batch_log_of(runtime).rows(), ["batch_id", "partition"]
    )
    waited = "CAST(committed_at AS DOUBLE) - CAST(kafka_timestamp AS DOUBLE)"
    p50, p99, most = rows.selectExpr(
        f"percentile({waited}, 0.5)", f"percentile({waited}, 0.99)", f"max({waited})"
    ).collect()[0]
    return {
        "events": events,
        "rate": options.rate,
        "trigger": options.trigger,
        "batches": batch_log_of(runtime).rows().select("batch_id").distinct().count(),
        "p50": round(p50, 2),
        "p99": round(p99, 2),
        "max": round(most, 2),
        "lost": events - counts.valid,
    }


def send(broker: str, rate: int, seconds: int) -> None:
    """Sends `rate` events a second, evenly; falls behind rather than crowd."""
    producer = KafkaProducer(bootstrap_servers=broker, linger_ms=5)
    values = [valid_value(number) for number in range(rate)]
    begin = time.monotonic()
    for tick in range(seconds * _TICKS):
        for number in range(tick * rate // _TICKS, (tick + 1) * rate // _TICKS):
            producer.send("lasting", values[number % rate], partition=number % 2)
        time.sleep(max(0.0, begin + (tick + 1) / _TICKS - time.monotonic()))
    producer.flush(timeout=60)
    producer.close()


if __name__ == "__main__":
    send(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
