"""The job killed at named points of its way, and started again: nothing lost, nothing doubled."""

import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from pyspark.sql import SparkSession
from tests.support.jvm import QUICK_JVM
from tests.support.killed_ingest import POINTS
from tests.support.streams import batch_log_of, ingest, produce, runtime_in, valid_value

from matchlake.config import load_config
from matchlake.dev.sandbox.topics import create_topic

FIVE = [
    point for point in POINTS if point not in ("before the table commit", "after the batch log")
]
# Processes that live for seconds compile as little as can be.
_QUICK = (
    f"spark={{spark.driver.extraJavaOptions: {QUICK_JVM},"
    " spark.sql.codegen.wholeStage: 'false', spark.sql.codegen.factoryMode: NO_CODEGEN}"
)


def settings(folder: Path, broker: str, topic: str, batch: int) -> list[str]:
    return [
        f"kafka.bootstrap_servers={broker}",
        "kafka.sasl=null",
        f"lakehouse={folder}",
        f"checkpoints={folder}/checkpoints",
        f"streams.rating_events.topic={topic}",
        f"streams.rating_events.table={topic}.events",
        f"streams.rating_events.valid_view={topic}.valid",
        f"streams.rating_events.quarantine_view={topic}.quarantine",
        f"streams.rating_events.max_offsets_per_trigger={batch}",
        f"ingest.batch_log={topic}.batches",
        "ingest.batch_log_interval_seconds=0.5",
    ]


def job(program: list[str], arguments: list[str]) -> list[str]:
    """The command of a job in a process of its own."""
    sets = [part for setting in [*arguments, _QUICK] for part in ("--set", setting)]
    return [sys.executable, *program, "--env", "demo", *sets]


def kill(point: str, after: int, folder: Path, topic: str, arguments: list[str]) -> bool:
    """Whether the job was killed, and not done before."""
    table = folder / "warehouse" / topic / "events"
    command = job(
        ["-m", "tests.support.killed_ingest", "SIGKILL", point, str(after), str(table)], arguments
    )
    done = subprocess.run(
        command, start_new_session=True, check=False, capture_output=True, text=True
    )
    assert done.returncode in (0, -9), done.stderr[-2000:]
    return done.returncode == -9


def fill(broker: str, topic: str, records: int) -> None:
    create_topic(broker, topic, 2)
    for partition in (0, 1):
        values = (valid_value(n) if n % 10 else b"bad" for n in range(records // 2))
        produce(broker, topic, values, partition)


def finish(spark: SparkSession, folder: Path, arguments: list[str], records: int) -> str:
    """Runs the job to its end and counts; the closing line."""
    config = load_config(
        "demo", [*arguments, "streams.rating_events.max_offsets_per_trigger=50000"]
    )
    runtime = runtime_in(spark, folder, **config.model_dump(include={"kafka", "streams", "ingest"}))
    counts = ingest(runtime)
    events = runtime.lakehouse.read(config.streams["rating_events"].table)
    distinct = events.select("partition", "offset").distinct().count()
    lost, doubled = records - distinct, events.count() - distinct
    assert (lost, doubled) == (0, 0)
    assert (counts.valid, counts.quarantined, counts.gaps) == (records * 9 // 10, records // 10, 0)
    batch_log = batch_log_of(runtime).rows()
    assert (
        batch_log.count()
        == batch_log.select("checkpoint_id", "batch_id", "partition").distinct().count()
    )
    return f"{records} records, {lost} lost, {doubled} doubled"


@pytest.mark.parametrize(
    "points", [FIVE[1:3], pytest.param(FIVE, marks=pytest.mark.soak)], ids=["two", "five"]
)
def test_killed_at_any_point_it_loses_and_doubles_nothing(
    spark: SparkSession, tmp_path: Path, broker: str, points: list[str]
) -> None:
    fill(broker, "killed", 6_000)
    arguments = settings(tmp_path, broker, "killed", 600)
    for point in points:
        assert kill(point, 1, tmp_path, "killed", arguments), point
    finish(spark, tmp_path, arguments, 6_000)


@pytest.mark.soak
@pytest.mark.timeout(3000)
def test_killed_fifty_times_it_loses_and_doubles_nothing(
    spark: SparkSession, tmp_path: Path, broker: str, tell: Callable[[str], None]
) -> None:
    records = 120_000
    fill(broker, "slain", records)
    arguments = settings(tmp_path, broker, "slain", 500)
    hits: Counter[str] = Counter()
    for number in range(50):
        point = POINTS[number % len(POINTS)]
        hits[point] += kill(point, number % 3, tmp_path, "slain", arguments)
    told = finish(spark, tmp_path, arguments, records)
    tell("hits: " + ", ".join(f"{hits[point]} {point}" for point in POINTS))
    tell(f"{hits.total()} kills, {told}")
    assert hits.total() == 50
    assert min(hits[point] for point in POINTS) >= 3


@pytest.mark.soak
def test_two_runs_at_once_write_nothing_twice(
    spark: SparkSession, tmp_path: Path, broker: str
) -> None:
    fill(broker, "contended", 20_000)
    arguments = settings(tmp_path, broker, "contended", 500)
    command = job(["jobs/ingest_events.py"], arguments)
    runs = [
        subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
        for _ in range(2)
    ]
    told = [run.communicate()[1] for run in runs]
    codes = [run.returncode for run in runs]
    assert set(codes) <= {0, 1}
    for code, text in zip(codes, told, strict=True):
        assert not code or "another run of this stream is under way" in text, text[:9000]
    finish(spark, tmp_path, arguments, 20_000)
