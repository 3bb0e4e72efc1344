"""The job `ingest_events` against a real broker and real tables."""

import json
import socket
import time
from pathlib import Path

import pandas as pd
import pytest
from pyspark.sql import DataFrame, SparkSession
from tests.support.streams import (
    INGEST_EVENTS,
    one_stream,
    produce,
    runtime_in,
    stream_entry,
    valid_value,
)

from matchlake.dev.sandbox.broken_events import broken_events
from matchlake.dev.sandbox.topics import create_topic
from matchlake.errors import SourceError, TableError
from matchlake.runtime import Runtime


def rows(runtime: Runtime, table: str) -> DataFrame:
    return runtime.lakehouse.read(table)


def test_every_kind_of_quarantined_record_has_one_row_and_its_reason(
    spark: SparkSession, tmp_path: Path, broker: str
) -> None:
    runtime = one_stream(spark, tmp_path, broker, "kinds")
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
        values += [valid_value(number), one.event.value]
    produce(broker, "kinds", values)

    INGEST_EVENTS(runtime)

    found = {row.offset: row for row in rows(runtime, "kinds.events").collect()}
    assert sorted(found) == list(range(150)), "one row at each offset"
    for number, one in enumerate(odd):
        before, row = found[2 * number], found[2 * number + 1]
        assert (before["_status"], before.user_id, before["_error_code"]) == (
            "valid",
            f"u{number}",
            None,
        )
        assert (one.kind, row["_error_code"]) == (one.kind, one.reason)
        assert row["_status"] == ("quarantined" if one.reason else "valid")
        assert row.raw == ((b"k", one.event.value, None) if one.reason else None)
        assert (row.user_id is None) == bool(one.reason)
        assert bool(row["_error_message"]) == bool(one.reason)
    assert rows(runtime, "kinds.valid").count() == sum(
        r["_status"] == "valid" for r in found.values()
    )
    refused = rows(runtime, "kinds.quarantine").where("_error_code = 'malformed_json'").first()
    assert refused is not None
    assert refused.text.encode() == bytes(refused.raw.value)
    history = spark.sql(f"DESCRIBE HISTORY {runtime.lakehouse.name('kinds.events')}")
    assert history.where("operation = 'WRITE'").count() == 1, "valid and quarantined in one commit"


def test_a_second_run_reads_only_new_records(
    spark: SparkSession, tmp_path: Path, broker: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "matchlake")
    runtime = one_stream(spark, tmp_path, broker, "again", partitions=2, max_offsets_per_trigger=7)

    INGEST_EVENTS(runtime)
    assert rows(runtime, "again.events").count() == 0, "an empty topic makes an empty table"
    assert "again: read 0 = 0 valid + 0 quarantined, 0 in gaps" in caplog.text

    produce(broker, "again", [valid_value(n) for n in range(10)], partition=0)
    produce(broker, "again", [*(valid_value(n) for n in range(10, 19)), b"no"], partition=1)
    INGEST_EVENTS(runtime)
    assert "again: read 20 = 19 valid + 1 quarantined" in caplog.text
    version = runtime.lakehouse.version("again.events")
    assert version >= 3, "several batches, one commit each"

    INGEST_EVENTS(runtime)
    assert runtime.lakehouse.version("again.events") == version
    produce(broker, "again", [valid_value(19), valid_value(0)], partition=1)
    INGEST_EVENTS(runtime)
    assert "again: read 2 = 2 valid + 0 quarantined" in caplog.text
    assert rows(runtime, "again.valid").count() == 21, "a duplicate stays, silver decides"


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
    produce(broker, "page-ratings", [valid_value(1)])

    INGEST_EVENTS(runtime)

    (row,) = rows(runtime, "views.valid").collect()
    assert (row.session, row.page, row.tags) == (2**40, "home", ["a", "b"])
    assert (row.signed_in, row.height, str(row.day)) == (True, None, "2024-05-01")
    assert row.seen_at.isoformat() == "2024-05-01T10:00:00.500000"
    refused = rows(runtime, "views.quarantine").orderBy("offset").collect()
    assert [row["_error_code"] for row in refused] == [
        "not_allowed",
        "missing_field",
        "wrong_type",
        "out_of_range",
        "wrong_type",
        "wrong_type",
    ]
    assert rows(runtime, "ratings.valid").count() == 1


def test_a_table_that_changed_underneath_stops_the_job_before_it_writes(
    spark: SparkSession, tmp_path: Path, broker: str
) -> None:
    runtime = one_stream(spark, tmp_path, broker, "changed")
    produce(broker, "changed", [valid_value(1)])
    INGEST_EVENTS(runtime)
    path = runtime.lakehouse.path("changed.events")
    table = runtime.lakehouse.name("changed.events")
    altered = spark.table(table).selectExpr("* except (rating)", "'4' AS rating")
    altered.write.format("delta").mode("overwrite").option("overwriteSchema", "true").save(path)
    spark.sql(f"REFRESH TABLE {table}")
    produce(broker, "changed", [valid_value(2)])
    with pytest.raises(TableError, match="column rating is string, declared double"):
        INGEST_EVENTS(runtime)
    assert spark.table(table).count() == 1


def test_a_missing_topic_names_those_there_are(
    spark: SparkSession, tmp_path: Path, broker: str
) -> None:
    runtime = one_stream(spark, tmp_path, broker, "present")
    entry = stream_entry("absent", "absent")
    config = runtime.config.model_validate(
        {**runtime.config.model_dump(), "streams": {"absent": entry}}
    )
    with pytest.raises(SourceError, match=r"No topic absent at .*topics: .*present"):
        INGEST_EVENTS(Runtime(spark, config, runtime.lakehouse, runtime.secrets, runtime.tracker))
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
            INGEST_EVENTS(runtime)
    assert time.monotonic() - began < 20
