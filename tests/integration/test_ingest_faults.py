"""What goes wrong around a stream: large messages, a broker that goes, a disk that is full."""

import resource
import subprocess
import sys
import threading
import time
from hashlib import sha256
from pathlib import Path

import pytest
from pyspark.sql import SparkSession
from tests.integration.test_ingest_killed import settings
from tests.support.streams import (
    batch_log_of,
    ingest,
    one_stream,
    prepared_streams,
    produce,
    runtime_in,
    valid_value,
    with_ingest,
)

from matchlake.config import load_config
from matchlake.dev.sandbox.broker import start_broker, stop_broker
from matchlake.dev.sandbox.topics import create_topic
from matchlake.ingest.streams.runner import follow


@pytest.mark.soak
def test_a_message_of_a_megabyte_and_one_nested_deeply_have_their_rows(
    spark: SparkSession, tmp_path: Path, broker: str
) -> None:
    runtime = one_stream(spark, tmp_path, broker, "large")
    room = 1_048_576 - len(valid_value(0, note="")) - 100
    deep = b"[" * 10_000 + b"]" * 10_000
    values = [
        valid_value(0, note="x" * room),
        b"y" * (room + 90),
        valid_value(1)[:-1] + b',"note":' + deep + b"}",
        deep,
        valid_value(2, user_id=["u"])[:-20],
    ]
    produce(broker, "large", values)
    counts = ingest(runtime)
    assert (counts.valid, counts.quarantined) == (2, 3)
    rows = runtime.lakehouse.read("large.events").orderBy("offset").collect()
    assert [row.value_bytes for row in rows] == [len(value) for value in values]
    kept = [row.raw and row.raw.value for row in rows]
    assert kept == [None, values[1], None, values[3], values[4]]


@pytest.mark.soak
def test_a_broker_that_goes_and_comes_back_loses_nothing(
    spark: SparkSession, tmp_path: Path, broker_root: Path
) -> None:
    broker = start_broker(broker_root, heap="512m")
    address = broker.bootstrap
    runtime = with_ingest(
        one_stream(spark, tmp_path, address, "gone", max_offsets_per_trigger=100),
        trigger="200 milliseconds",
        batch_log_interval_seconds=1,
    )
    produce(address, "gone", [valid_value(n) for n in range(500)])

    def restart() -> None:
        time.sleep(4)
        stop_broker(broker_root)
        time.sleep(12)  # Longer than one question to it waits for an answer.
        start_broker(broker_root, heap="512m")
        produce(address, "gone", [valid_value(n) for n in range(500)])

    restarting = threading.Thread(target=restart)
    stream = follow(prepared_streams(runtime), runtime.config.ingest)
    restarting.start()
    read = 0
    for _, counts in stream:
        read += counts.valid
        if read == 1000:
            break
    stream.close()
    restarting.join()
    assert batch_log_of(runtime).reconcile().total.valid == 1000


@pytest.mark.soak
def test_a_full_disk_stops_the_job_and_the_next_run_has_it_all(
    spark: SparkSession, tmp_path: Path, broker: str
) -> None:
    """A limit on the size of files is to the process what a full disk is."""
    create_topic(broker, "full", 2)
    for partition in (0, 1):
        items = [sha256(str(n).encode()).hexdigest() for n in range(30_000)]
        events = [valid_value(n * 7919, item_id=item) for n, item in enumerate(items)]
        produce(broker, "full", events, partition)
    arguments = settings(tmp_path, broker, "full", 100_000)
    sets = [part for setting in arguments for part in ("--set", setting)]
    limit = 1_100_000  # Above the libraries that the JVM unpacks, below the table's files.
    done = subprocess.run(
        [sys.executable, "jobs/ingest_events.py", "--env", "demo", *sets],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1, done.stderr[-2000:]
    assert "full.events cannot be written: File too large" in done.stderr, done.stderr[-3000:]
    assert done.stderr.rstrip().endswith("Free some space first."), "a sentence, and last of all"
    config = load_config("demo", arguments)
    runtime = runtime_in(
        spark, tmp_path, **config.model_dump(include={"kafka", "streams", "ingest"})
    )
    assert runtime.lakehouse.read("full.events").count() == 0, "nothing of the batch is there"
    assert ingest(runtime).valid == 60_000
