"""Streams whose values are no JSON: from a real broker and a registry into their tables."""

import io
import runpy
from pathlib import Path
from typing import Any

import fastavro
import pytest
from pyspark.sql import SparkSession
from tests.support.registry import schema_registry
from tests.support.streams import produce, runtime_in, stream_entry

from matchlake.dev.sandbox.topics import create_topic

run = runpy.run_path("jobs/ingest_events.py")["run"]

SCHEMA: dict[str, Any] = {
    "type": "record",
    "name": "Rating",
    "fields": [
        *({"name": name, "type": "string"} for name in ("user_id", "item_id", "event_time")),
        {"name": "rating", "type": "double"},
        {"name": "device", "type": ["null", "string"]},
    ],
}


def framed(number: int, **changes: Any) -> bytes:
    record = {"user_id": "u", "item_id": "i", "event_time": "2024-05-01T10:00:00Z", "rating": 4.0}
    out = io.BytesIO()
    out.write(b"\0" + number.to_bytes(4, "big"))
    fastavro.schemaless_writer(out, SCHEMA, {**record, "device": None, **changes})
    return out.getvalue()


@pytest.mark.soak
def test_avro_of_a_registry_and_csv_side_by_side(
    spark: SparkSession, tmp_path: Path, broker: str
) -> None:
    values = {
        "avro_values": [framed(7, device="tv"), b"\0\0", framed(7, rating=9.0), framed(8)],
        "csv_values": [b"u,i,4,2024-05-01T10:00:00Z", b"u,i", b'"a\nb",i,5,2024-05-01 10:00:00'],
    }
    for topic, sent in values.items():
        create_topic(broker, topic, 1)
        produce(broker, topic, sent)
    with schema_registry({7: SCHEMA}, []) as registry:
        avro = {"format": "confluent_avro", "format_options": {"registry": registry}}
        streams = {
            "avro": stream_entry("avro_values", "avro_values", **avro, unknown_fields="rescue"),
            "csv": stream_entry("csv_values", "csv_values", format="csv"),
        }
        runtime = runtime_in(spark, tmp_path, kafka={"bootstrap_servers": broker}, streams=streams)
        run(runtime)

    def rows(table: str, *columns: str) -> list[tuple[Any, ...]]:
        frame = runtime.lakehouse.read(table).orderBy("offset")
        return [tuple(row) for row in frame.select(*columns).collect()]

    assert rows(
        "avro_values.events", "rating", "_rescued_data", "schema_version", "_error_code"
    ) == [
        (4.0, '{"device": "tv"}', 7, None),
        (None, None, None, "malformed_avro"),
        (None, None, 7, "out_of_range"),
        (None, None, 8, "unknown_schema"),
    ]
    assert rows("avro_values.valid", "user_id", "_rescued_data") == [("u", '{"device": "tv"}')]
    assert rows("csv_values.events", "user_id", "rating", "_error_code") == [
        ("u", 4.0, None),
        (None, None, "malformed_row"),
        ("a\nb", 5.0, None),
    ]
