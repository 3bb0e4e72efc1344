"""score_events with a real broker: real time, a new champion, kills; each event once in silver."""

import json
import os
import random
import runpy
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from pyspark.sql import SparkSession
from tests.support.event_models import event, scored_conf
from tests.support.scored_events import StreamsUnderTest, event_streams
from tests.support.sources import ROOT
from tests.support.streams import runtime_in

from matchlake.dev.sandbox.topics import create_topic
from matchlake.lakehouse.event_streams import run_streams
from matchlake.runtime import Runtime

INGEST = runpy.run_path(str(ROOT / "jobs" / "ingest_events.py"))["run"]
SILVER = runpy.run_path(str(ROOT / "jobs" / "build_silver.py"))["run"]


def make_topics(broker: str, name: str, partitions: int = 1) -> None:
    for topic in (name, f"{name}.scores"):
        create_topic(broker, topic, partitions)


def send(broker: str, topic: str, numbers: range) -> None:
    producer = KafkaProducer(bootstrap_servers=[broker])
    for number in numbers:
        producer.send(topic, b"broken" if number % 10 == 9 else event(number), b"k")
    producer.flush(timeout=30)
    producer.close(timeout=5)


def scores(broker: str, topic: str, count: int, seconds: float = 90) -> list[dict[str, Any]]:
    """The records of the scores, once there are so many different events among them."""
    consumer = KafkaConsumer(bootstrap_servers=[broker], auto_offset_reset="earliest")
    consumer.assign([TopicPartition(f"{topic}.scores", 0)])
    consumer.seek_to_beginning()
    found, deadline = [], time.monotonic() + seconds
    while len({each["source_offset"] for each in found}) < count:
        assert time.monotonic() < deadline, f"{len(found)} of {count}"
        for records in consumer.poll(timeout_ms=200).values():
            found += [json.loads(each.value) for each in records]
    consumer.close()
    return found


def check_once_in_silver(at: Runtime, name: str, events: int) -> int:
    """Brings the scores to silver and compares; the number of repeated records."""
    INGEST(at)
    SILVER(at)
    rows = at.lakehouse.read(f"{name}.scores_once").collect()
    assert sorted(row.source_offset for row in rows) == list(range(events))
    for row in rows:
        number = row.source_offset
        if number % 10 == 9:
            assert (row.prediction, row.refusal) == (None, "malformed_json")
        else:
            assert row.prediction == 3.0 * (number / 10) + 1.0
    return at.lakehouse.read(f"{name}.scores").count() - events


@pytest.mark.soak
@pytest.mark.local_only
def test_real_time_takes_a_new_champion_and_silver_has_each_event_once(
    spark: SparkSession, tmp_path: Path, broker: str
) -> None:
    name = "scored"
    make_topics(broker, name)
    send(broker, name, range(20))
    at = runtime_in(spark, tmp_path, **scored_conf(broker, name, mode="real_time"))
    streams = event_streams(at, broker).prepare()
    assert [each.is_real_time for each in streams] == [True]
    failed: list[BaseException] = []

    def run() -> None:
        try:
            run_streams(streams)
        except BaseException as error:  # noqa: BLE001 - shown by the test
            failed.append(error)

    runner = threading.Thread(target=run, daemon=True)
    runner.start()
    scores(broker, name, 20)
    first = {query.runId for query in spark.streams.active}
    StreamsUnderTest.versions["now"] = "2"
    deadline = time.monotonic() + 90
    while not {query.runId for query in spark.streams.active} - first:
        assert time.monotonic() < deadline, failed
        time.sleep(0.2)
    send(broker, name, range(20, 40))
    found = scores(broker, name, 40)
    assert {each["model_version"] for each in found} == {"1", "2"}
    for query in spark.streams.active:
        query.stop()
    runner.join(60)
    assert failed == []
    check_once_in_silver(at, name, 40)


@pytest.mark.soak
@pytest.mark.local_only
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("mode", ["real_time", "micro_batch"])
def test_killed_it_loses_and_doubles_nothing(
    spark: SparkSession, tmp_path: Path, broker: str, mode: str, tell: Callable[[str], None]
) -> None:
    name, kills, sent = f"killed_{mode}", 10, 0
    make_topics(broker, name)
    draw = random.Random(7)  # noqa: S311 - moments of kills, no secret
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'lib'}{os.pathsep}{ROOT}"}
    command = [sys.executable, "-m", "tests.support.scored_events", broker, name]
    for number in range(kills):
        with subprocess.Popen(
            [*command, str(tmp_path), mode], cwd=ROOT, env=environment, start_new_session=True
        ) as process:
            send(broker, name, range(sent, sent + 50))
            sent += 50
            if number == 0:
                scores(broker, name, 10, 300)
            time.sleep(draw.uniform(5, 25))
            assert process.poll() is None
            os.killpg(process.pid, signal.SIGKILL)
    conf = scored_conf(broker, name, mode="micro_batch")
    conf["score_events"]["trigger"] = "available_now"
    at = runtime_in(spark, tmp_path, **conf)
    run_streams(event_streams(at, broker).prepare())
    repeated = check_once_in_silver(at, name, sent)
    tell(f"{mode}: {kills} kills, {sent} events, {repeated} repeated records, each event once")
