"""Messages become rows with Arrow functions and, where Spark has none, without: the same law."""

import io
from collections.abc import Sequence
from datetime import UTC, datetime

import fastavro
import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from tests.support.registry import schema_registry
from tests.support.streams import COLUMNS, stream_entry, valid_value

from matchlake.ingest.params import StreamParams
from matchlake.ingest.streams import messages as records
from matchlake.ingest.streams.messages import parse_messages
from matchlake.ingest.tables import stream_table

SCHEMA = """key BINARY, value BINARY, headers ARRAY<STRUCT<key: STRING, value: BINARY>>,
    partition INT, offset BIGINT, timestamp TIMESTAMP, checkpoint_id BIGINT, batch_id BIGINT"""
HEADERS = [("trace", b"\x01\xff"), ("trace", None), ("empty", b"")]
CASES: list[tuple[bytes | None, str | None]] = [
    (valid_value(1), None),
    (None, "tombstone"),
    (b"", "empty"),
    (b"\n\n", "empty"),
    (b'{"user_id":', "malformed_json"),
    (b"\xff\xfe", "invalid_utf8"),
    (valid_value(2) + b"\n", None),
    (valid_value(3) + valid_value(4), "malformed_json"),
    ('{"user_id":"ü€\U0001f600"}'.encode(), "missing_field"),
    (valid_value(5), None),
]


@pytest.fixture(params=["arrow_udf", "mapInArrow"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """How the values travel to Python."""
    if request.param == "mapInArrow":
        monkeypatch.setattr(records, "_arrow_udf", None)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("batch", [(2**60 - 1, 7), None])
def test_each_message_is_one_row_as_it_came(
    spark: SparkSession, batch: tuple[int, int] | None
) -> None:
    stream = StreamParams.model_validate(stream_entry("events", "events"))
    passing = () if batch else ("checkpoint_id", "batch_id")
    found = parse_messages(messages(spark), stream, passing, batch)
    assert found.columns == stream_table(stream).column_names
    rows = found.orderBy("offset").collect()
    for place, ((value, reason), row) in enumerate(zip(CASES, rows, strict=True)):
        raw = (b"k%d" % place, value, HEADERS if place % 2 else None) if reason else None
        assert (row.offset, row["_error_code"], row.raw) == (100 + place, reason, raw)
        assert row["_status"] == ("quarantined" if reason else "valid")
        assert row.value_bytes == (None if value is None else len(value))
        assert (row["_error_message"] is None) == (row.user_id is not None) == (reason is None)
        assert (row.topic, row.partition, row.attempt) == ("events", 3, 1)
        assert (row.checkpoint_id, row.batch_id) == (batch or (11, 12))
        assert row.kafka_timestamp.year == 2024


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("format_", ["json", "csv"])
def test_a_value_above_the_limit_is_kept_and_not_decoded(spark: SparkSession, format_: str) -> None:
    size = len(valid_value(1)) if format_ == "json" else len(b"u1,i1,2,2024-05-01T10:00:01Z")
    limits = {"max_value_bytes": size}
    entry = stream_entry("events", "events", limits=limits, format=format_)
    stream = StreamParams.model_validate(entry)
    valid = valid_value(1) if format_ == "json" else b"u1,i1,2,2024-05-01T10:00:01Z"
    large = valid.replace(b"u1", b"u1000000")
    values = [valid, large, None, b"{" * size, b"{" * 2_500_000]
    rows = messages(spark, [(value, None) for value in values])
    found = parse_messages(rows, stream, batch=(1, 1)).orderBy("offset").collect()
    invalid = "malformed_json" if format_ == "json" else "malformed_row"
    codes = [None, "value_too_large", "tombstone", invalid, "value_too_large"]
    assert [row["_error_code"] for row in found] == codes
    assert [row.raw and row.raw.value for row in found] == [None, *values[1:]]
    assert [row.value_bytes for row in found] == [value and len(value) for value in values]
    message = f"the value has 2500000 bytes, above limits.max_value_bytes, {size}"
    assert found[-1]["_error_message"] == message


@pytest.mark.usefixtures("way")
def test_a_task_asks_a_registry_for_a_schema_once(spark: SparkSession) -> None:
    fields = [{"name": name, "type": "string"} for name in ("user_id", "item_id")]
    schema = {"type": "record", "name": "Event", "fields": fields}
    value = io.BytesIO()
    value.write(b"\0\0\0\0\1")
    fastavro.schemaless_writer(value, schema, {"user_id": "u", "item_id": "i"})
    columns = {name: COLUMNS[name] for name in ("user_id", "item_id")}
    asked: list[str] = []
    at_once = "spark.sql.execution.arrow.maxRecordsPerBatch"
    before = spark.conf.get(at_once)
    spark.conf.set(at_once, 2)
    try:
        with schema_registry({1: schema}, asked) as address:
            told = {"format": "confluent_avro", "format_options": {"registry": address}}
            entry = stream_entry("events", "events", columns=columns, event_time=None, **told)
            stream = StreamParams.model_validate(entry)
            one = messages(spark).coalesce(1).withColumn("value", F.lit(value.getvalue()))
            rows = parse_messages(one, stream, batch=(1, 1)).select("user_id", "_status").collect()
    finally:
        spark.conf.set(at_once, before)
    assert rows == [("u", "valid")] * len(CASES)
    assert asked == ["/schemas/ids/1"]


@pytest.mark.usefixtures("way")
def test_a_message_without_a_value_deletes_by_its_key(spark: SparkSession) -> None:
    """But not one that is not decoded: its value is too large, or its time is beyond a table."""
    limits = {"max_value_bytes": len(valid_value(1))}
    keys = {"change_data": "tombstones", "key_columns": ["user_id"], "limits": limits}
    stream = StreamParams.model_validate(stream_entry("events", "events", **keys))
    values = [valid_value(1), None, b"{" * 500, None, None]
    odd = F.when(F.col("offset") == 103, F.lit(2**62)).alias(records.ODD_TIMESTAMP)
    rows = messages(spark, [(value, None) for value in values]).select("*", odd)
    rows = rows.withColumn("key", F.when(F.col("offset") != 104, F.col("key")))
    found = parse_messages(rows, stream, batch=(1, 1)).orderBy("offset").collect()
    assert [(row["_operation"], row.user_id, row["_error_code"]) for row in found] == [
        ("upsert", "u1", None),
        ("delete", "k1", None),
        (None, None, "value_too_large"),
        (None, None, "bad_timestamp"),
        (None, None, "tombstone"),
    ]
    assert [row.raw and row.raw.value for row in found] == [None, None, *values[2:]]


def messages(
    spark: SparkSession, cases: Sequence[tuple[bytes | None, str | None]] = CASES
) -> DataFrame:
    """The cases in their order, each with a key, and every other with headers."""
    noon = datetime(2024, 5, 1, 12, tzinfo=UTC)
    each = [
        (b"k%d" % place, value, HEADERS if place % 2 else None, 3, 100 + place, noon, 11, 12)
        for place, (value, _) in enumerate(cases)
    ]
    return spark.createDataFrame(each, SCHEMA)
