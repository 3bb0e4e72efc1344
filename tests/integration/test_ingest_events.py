"""The job `ingest_events` against a real broker and real tables."""

import json
import os
import re
import runpy
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from pyspark.sql import DataFrame, SparkSession
from tests.support.streams import produce, runtime_in, stream_entry

from matchlake.config import load_config
from matchlake.errors import ReconciliationError, SourceError, TableError
from matchlake.runtime import Runtime
from matchlake.sandbox.broken_events import broken_events
from matchlake.sandbox.topics import create_topic

run = runpy.run_path("jobs/ingest_events.py")["run"]


def good(number: int, **changes: Any) -> bytes:
    fields = {
        "user_id": f"u{number}",
        "item_id": f"i{number % 7}",
        "rating": 1 + number % 5,
        "event_time": f"2024-05-01T10:{number // 60 % 60:02d}:{number % 60:02d}Z",
    }
    return json.dumps(fields | changes).encode()


def runtime_of(
    spark: SparkSession, folder: Path, broker: str, name: str, **changes: Any
) -> Runtime:
    """A runtime with one stream, `name`, whose topic is made; tables below schema `name`."""
    create_topic(broker, name, changes.pop("partitions", 1))
    return runtime_in(
        spark,
        folder,
        kafka={"bootstrap_servers": broker},
        streams={name: stream_entry(name, name, **changes)},
    )


def rows(runtime: Runtime, table: str) -> DataFrame:
    return runtime.lakehouse.read(table)


def test_every_kind_of_bad_record_has_one_row_and_its_reason(
    spark: SparkSession, tmp_path: Path, broker: str
) -> None:
    runtime = runtime_of(spark, tmp_path, broker, "kinds")
    ratings = pd.DataFrame(
        {
            "user_id": [f"u{n}" for n in range(50)],
            "item_id": [f"i{n}" for n in range(50)],
            "rating": [3.5] * 50,
            "event_time": pd.to_datetime(
                [1_700_000_000 + n for n in range(50)], unit="s", utc=True
            ),
        }
    )
    odd = broken_events(ratings, seed=1, count=75)
    values: list[bytes | None] = []
    for number, one in enumerate(odd):
        values += [good(number), one.event.value]
    produce(broker, "kinds", values)

    run(runtime)

    found = {row.offset: row for row in rows(runtime, "kinds.events").collect()}
    assert sorted(found) == list(range(150)), "one row at each offset"
    for number, one in enumerate(odd):
        before, row = found[2 * number], found[2 * number + 1]
        assert (before.status, before.user_id, before.reason) == ("good", f"u{number}", None)
        assert (one.kind, row.reason) == (one.kind, one.reason)
        assert row.status == ("quarantined" if one.reason else "good")
        assert row.raw_value == (one.event.value if one.reason else None)
        assert row.raw_key == (b"k" if one.reason else None)
        assert (row.user_id is None) == bool(one.reason)
        assert bool(row.detail) == bool(one.reason)
    assert rows(runtime, "kinds.good").count() == sum(r.status == "good" for r in found.values())
    refused = rows(runtime, "kinds.quarantine").where("reason = 'malformed_json'").first()
    assert refused is not None
    assert refused.text.encode() == bytes(refused.raw_value)
    history = spark.sql(f"DESCRIBE HISTORY {runtime.lakehouse.name('kinds.events')}")
    assert history.where("operation = 'WRITE'").count() == 1, "good and bad in one commit"


def test_a_second_run_takes_only_what_is_new(
    spark: SparkSession, tmp_path: Path, broker: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "matchlake")
    runtime = runtime_of(spark, tmp_path, broker, "again", partitions=2, max_offsets_per_batch=7)

    run(runtime)
    assert rows(runtime, "again.events").count() == 0, "an empty topic makes an empty table"
    assert "again: read 0 = 0 good + 0 quarantined" in caplog.text

    produce(broker, "again", [good(n) for n in range(10)], partition=0)
    produce(broker, "again", [*(good(n) for n in range(10, 19)), b"no"], partition=1)
    run(runtime)
    assert "again: read 20 = 19 good + 1 quarantined" in caplog.text
    version = runtime.lakehouse.version("again.events")
    assert version >= 3, "several batches, one commit each"

    run(runtime)
    assert runtime.lakehouse.version("again.events") == version
    produce(broker, "again", [good(19), good(0)], partition=1)
    run(runtime)
    assert "again: read 2 = 2 good + 0 quarantined" in caplog.text
    assert rows(runtime, "again.good").count() == 21, "a duplicate stays, silver decides"


def test_a_second_stream_needs_conf_only(spark: SparkSession, tmp_path: Path, broker: str) -> None:
    create_topic(broker, "page-views", 1)
    create_topic(broker, "page-ratings", 1)
    columns = {
        "session": {"type": "bigint", "comment": "s"},
        "page": {
            "type": "string",
            "path": "target.page",
            "one_of": ["home", "item"],
            "comment": "p",
        },
        "seen_at": {"type": "timestamp", "epoch": "ms", "path": "ts", "comment": "t"},
        "day": {"type": "date", "required": False, "comment": "d"},
        "tags": {"type": "array<string>", "required": False, "comment": "g"},
        "signed_in": {"type": "boolean", "required": False, "comment": "b"},
        "height": {"type": "int", "min": 1, "required": False, "comment": "h"},
    }
    views = stream_entry("page-views", "views", columns=columns, event_time="seen_at")
    runtime = runtime_in(
        spark,
        tmp_path,
        kafka={"bootstrap_servers": broker},
        streams={"views": views, "ratings": stream_entry("page-ratings", "ratings")},
    )
    first = {"session": 2**40, "target": {"page": "home", "x": 1}, "ts": 1714557600500}
    produce(
        broker,
        "page-views",
        [
            json.dumps(
                first | {"tags": ["a", "b"], "day": "2024-05-01", "signed_in": True}
            ).encode(),
            json.dumps(first | {"target": {"page": "cart"}}).encode(),
            json.dumps(first | {"target": None}).encode(),
            json.dumps(first | {"session": 1.5}).encode(),
            json.dumps(first | {"height": 2**31}).encode(),
            json.dumps(first | {"day": "2024-02-30"}).encode(),
            json.dumps(first | {"tags": ["a", 1]}).encode(),
        ],
    )
    produce(broker, "page-ratings", [good(1)])

    run(runtime)

    (row,) = rows(runtime, "views.good").collect()
    assert (row.session, row.page, row.tags) == (2**40, "home", ["a", "b"])
    assert (row.signed_in, row.height, str(row.day)) == (True, None, "2024-05-01")
    assert row.seen_at.isoformat() == "2024-05-01T10:00:00.500000"
    refused = rows(runtime, "views.quarantine").orderBy("offset").collect()
    assert [row.reason for row in refused] == [
        "not_allowed",
        "missing_field",
        "wrong_type",
        "out_of_range",
        "wrong_type",
        "wrong_type",
    ]
    assert rows(runtime, "ratings.good").count() == 1


def test_a_silent_loss_or_doubling_is_found(
    spark: SparkSession, tmp_path: Path, broker: str
) -> None:
    runtime = runtime_of(spark, tmp_path, broker, "doubled")
    produce(broker, "doubled", [good(n) for n in range(5)])
    run(runtime)
    for folder in sorted((tmp_path / "checkpoints" / "doubled").rglob("*"), reverse=True):
        folder.rmdir() if folder.is_dir() else folder.unlink()
    with pytest.raises(ReconciliationError, match="offsets 0 to 4: 5 read, but 10 good"):
        run(runtime)


def test_a_table_that_changed_underneath_stops_the_job_before_it_writes(
    spark: SparkSession, tmp_path: Path, broker: str
) -> None:
    runtime = runtime_of(spark, tmp_path, broker, "changed")
    produce(broker, "changed", [good(1)])
    run(runtime)
    path = runtime.lakehouse.path("changed.events")
    table = runtime.lakehouse.name("changed.events")
    altered = spark.table(table).selectExpr("* except (rating)", "'4' AS rating")
    altered.write.format("delta").mode("overwrite").option("overwriteSchema", "true").save(path)
    spark.sql(f"REFRESH TABLE {table}")
    produce(broker, "changed", [good(2)])
    with pytest.raises(TableError, match="column rating is string, declared double"):
        run(runtime)
    assert spark.table(table).count() == 1


def test_a_missing_topic_names_those_there_are(
    spark: SparkSession, tmp_path: Path, broker: str
) -> None:
    runtime = runtime_of(spark, tmp_path, broker, "present")
    entry = stream_entry("absent", "absent")
    config = runtime.config.model_validate(
        {**runtime.config.model_dump(), "streams": {"absent": entry}}
    )
    with pytest.raises(SourceError, match=r"No topic absent at .*there is: .*present"):
        run(Runtime(spark, config, runtime.lakehouse, runtime.secrets, runtime.tracker))
    assert not runtime.lakehouse.exists("absent.events")


def test_an_unreachable_broker_fails_within_seconds(spark: SparkSession, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        runtime = runtime_in(
            spark,
            tmp_path,
            kafka={"bootstrap_servers": address},
            streams={"events": stream_entry("events", "unreachable")},
        )
        began = time.monotonic()
        with pytest.raises(SourceError, match=f"No broker answers.*{address}.*sandbox start"):
            run(runtime)
    assert time.monotonic() - began < 20


def test_killed_in_mid_stream_and_started_again_loses_and_doubles_nothing(
    spark: SparkSession, tmp_path: Path, broker: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "matchlake")
    create_topic(broker, "killed", 2)
    for partition in (0, 1):
        values = [good(n) if n % 10 else b"bad" for n in range(3_000)]
        produce(broker, "killed", values, partition)
    settings = [
        f"kafka.bootstrap_servers={broker}",
        f"lakehouse={tmp_path}",
        f"checkpoints={tmp_path}/checkpoints",
        "streams.rating_events.topic=killed",
        "streams.rating_events.table=killed.events",
        "streams.rating_events.good_view=killed.good",
        "streams.rating_events.quarantine_view=killed.quarantine",
        "streams.rating_events.max_offsets_per_batch=200",
    ]
    arguments = [part for setting in settings for part in ("--set", setting)]
    commits = tmp_path / "checkpoints" / "rating_events" / "commits"
    command = [sys.executable, "jobs/ingest_events.py", "--env", "local", *arguments]
    with subprocess.Popen(command, start_new_session=True) as job:
        while not (commits / "3").exists():
            assert job.poll() is None, "it ended before it could be killed"
            time.sleep(0.05)
        os.killpg(job.pid, signal.SIGKILL)
    assert not (commits / "29").exists(), "it was killed in mid-stream"

    config = load_config("local", [*settings, "streams.rating_events.max_offsets_per_batch=2000"])
    keys = config.model_dump(include={"kafka", "streams", "ingest"})
    runtime = runtime_in(spark, tmp_path, **keys)
    run(runtime)

    assert re.search(r"read (\d+) = \d+ good \+ \d+ quarantined", caplog.text)
    events = rows(runtime, "killed.events")
    found = events.groupBy("partition", "status").count().collect()
    assert sorted(map(tuple, found)) == [
        (part, status, count)
        for part in (0, 1)
        for status, count in (("good", 2_700), ("quarantined", 300))
    ]
    assert events.select("partition", "offset").distinct().count() == 6_000
