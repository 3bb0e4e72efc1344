"""silver.interactions: the last event per user and item, built from the silver table of events."""

import runpy
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from pydantic import ValidationError
from pyspark.sql import SparkSession
from tests.support.executions import executions
from tests.support.lakes import forget_tables
from tests.support.streams import COLUMNS, runtime_in, stream_entry

from matchlake.errors import ConfigError
from matchlake.ingest.params import InteractionsParams, SilverTable, StreamParams
from matchlake.ingest.silver import InteractionsSpec, SilverSpec
from matchlake.ingest.tables import stream_table
from matchlake.io.delta import Lakehouse
from matchlake.runtime import Runtime
from matchlake.schemas import INTERACTIONS

RUN = runpy.run_path("jobs/build_silver.py")["run"]
EVENTS = (
    "user_id STRING, item_id STRING, rating DOUBLE, event_time TIMESTAMP, "
    "kafka_timestamp TIMESTAMP, topic STRING, partition INT, offset BIGINT"
)
TABLE = {"stream": "events", "table": "shop.silver", "comment": "c"}


def spec(columns: dict[str, Any] = COLUMNS, **names: Any) -> InteractionsSpec:
    """The interactions of a stream with these columns."""
    stream = StreamParams.model_validate(stream_entry("t", "shop", columns=columns))
    table = SilverTable.model_validate({**TABLE, "keys": ["event_time"]})
    params = InteractionsParams(source="events", **names)
    return InteractionsSpec(params, SilverSpec(stream, table))


def event(user: str, rating: float, *order: int) -> tuple[object, ...]:
    happened, arrived, partition, offset = order
    times = [datetime(2024, 1, day) for day in (happened, arrived)]
    return (user, "i", rating, *times, "ratings", partition, offset)


CASES = [
    event("later event", 1.0, 2, 3, 0, 7),
    event("later event", 5.0, 3, 2, 0, 6),
    event("later arrival", 1.0, 2, 2, 1, 9),
    event("later arrival", 5.0, 2, 3, 0, 1),
    event("partition", 1.0, 2, 2, 0, 9),
    event("partition", 5.0, 2, 2, 1, 1),
    event("offset", 1.0, 2, 2, 0, 1),
    event("offset", 5.0, 2, 2, 0, 2),
    event("late and old", 5.0, 9, 9, 0, 1),
    event("late and old", 1.0, 1, 20, 0, 2),
]


@pytest.mark.parametrize("step", [1, -1])
def test_rows_equal_event_times_are_ordered_by_kafka(spark: SparkSession, step: int) -> None:
    found = spec().rows(spark.createDataFrame(CASES[::step], EVENTS))
    assert found.columns == ["user_id", "item_id", "rating", "event_time"]
    rows = found.collect()
    assert len(rows) == 5
    assert {row.rating for row in rows} == {5.0}


def test_rows_many_events_agree_with_pandas(spark: SparkSession) -> None:
    frame = spark.range(2000).selectExpr(
        "CAST(id * 7919 % 13 AS STRING) AS user_id",
        "CAST(id * 104729 % 17 AS STRING) AS item_id",
        "CAST(id % 5 + 1 AS DOUBLE) AS rating",
        "timestamp_seconds(id * 31 % 11) AS event_time",
        "timestamp_seconds(id * 17 % 7) AS kafka_timestamp",
        "'t' AS topic",
        "CAST(id % 3 AS INT) AS partition",
        "id AS offset",
    )
    order = ["event_time", "kafka_timestamp", "topic", "partition", "offset"]
    keys = ["user_id", "item_id"]
    expected = frame.toPandas().sort_values(order).groupby(keys).last()[["rating", "event_time"]]
    found = spec().rows(frame).toPandas().set_index(keys).sort_index()
    pd.testing.assert_frame_equal(found, expected.sort_index())


PURCHASES = {
    "customer": {"type": "bigint", "comment": "who"},
    "sku": {"type": "string", "comment": "what"},
    "pieces": {"type": "int", "comment": "how many"},
    "event_time": {"type": "timestamp", "comment": "when"},
    "shop": {"type": "string", "required": False, "comment": "where"},
}


def test_rows_other_columns_and_no_rating(spark: SparkSession) -> None:
    frame = spark.sql("""
        SELECT 7L AS customer, 's' AS sku, 3 AS pieces, TIMESTAMP'2024-05-01' AS event_time,
               'x' AS shop, TIMESTAMP'2024-05-01' AS kafka_timestamp, 't' AS topic,
               0 AS partition, 1L AS offset
    """)
    named = {"user_id": "customer", "item_id": "sku"}
    for rating, value in (("pieces", 3.0), (None, 1.0)):
        rows = spec(PURCHASES, **named, rating=rating).rows(frame)
        assert [tuple(row)[:3] for row in rows.collect()] == [("7", "s", value)]
        assert dict(rows.dtypes)["rating"] == "double"
    with pytest.raises(ConfigError, match=r"rating sku of silver\.interactions is string"):
        spec(PURCHASES, **named, rating="sku").rows(frame)
    with pytest.raises(ConfigError, match=r"item_id shop of .* has to be a required column"):
        spec(PURCHASES, user_id="customer", item_id="shop").rows(frame)


@pytest.mark.local_only
def test_rows_starts_no_execution(spark: SparkSession) -> None:
    frame = spark.createDataFrame(CASES, EVENTS)
    assert executions(spark, lambda: spec().rows(frame)) == 0


def runtime(spark: SparkSession, folder: Path, **silver: Any) -> Runtime:
    forget_tables(spark)
    tables = {"events": {**TABLE, "keys": ["user_id", "item_id", "event_time"]}}
    keys = {"tables": tables, "interactions": {"source": "events"}, **silver}
    streams = {"events": stream_entry("t", "shop", lateness_threshold_seconds=3600)}
    return runtime_in(spark, folder, streams=streams, silver=keys)


def add(at: Runtime, *events: tuple[str, int, float, int, int]) -> None:
    """Valid events (user, day, rating, hours until Kafka took it, offset) into bronze."""
    table = stream_table(at.config.streams["events"])
    at.lakehouse.create(table)
    values = [(user, day, float(rating), hours, o) for user, day, rating, hours, o in events]
    rows = at.spark.createDataFrame(values, "user STRING, day INT, r DOUBLE, h INT, o BIGINT")
    happened = "timestampadd(DAY, day, TIMESTAMP'2024-05-01')"
    rows.selectExpr(
        *("'valid' AS _status", "'t' AS topic", "0 AS partition", "o AS offset"),
        *("user AS user_id", "'i' AS item_id", "r AS rating", f"{happened} AS event_time"),
        f"timestampadd(HOUR, h, {happened}) AS kafka_timestamp",
    ).write.format("delta").mode("append").saveAsTable(at.lakehouse.name(table.name))


def interactions(lakehouse: Lakehouse) -> list[tuple[Any, ...]]:
    chosen = lakehouse.read(INTERACTIONS.name).selectExpr("user_id", "rating", "day(event_time)")
    return sorted(map(tuple, chosen.collect()))


def test_job_late_and_repeated_events_reach_the_interactions(
    spark: SparkSession, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "matchlake")
    at = runtime(spark, tmp_path)
    lake = at.lakehouse
    # Offset 1 repeats the event of offset 0 with another rating; offset 2 is older, and late.
    add(at, ("a", 5, 1, 0, 0), ("a", 5, 2, 1, 1), ("a", 1, 3, 500, 2), ("b", 1, 4, 0, 3))
    RUN(at)
    assert interactions(lake) == [("a", 2.0, 6), ("b", 4.0, 2)]
    assert "silver.interactions: 2 row(s) from events" in caplog.text

    version = lake.version(INTERACTIONS.name)
    RUN(at)
    assert lake.version(INTERACTIONS.name) == version, "nothing new, nothing written"

    # A correction of the last event, an event later than it that comes late, and an older record
    # of an event that is there already, as a replay finds it.
    add(at, ("a", 5, 5, 2, 4), ("b", 3, 1, 500, 5), ("b", 1, 9, -1, 6))
    RUN(at)
    assert interactions(lake) == [("a", 5.0, 6), ("b", 1.0, 4)]
    events = lake.read("shop.silver").selectExpr("user_id", "day(event_time)", "rating", "late")
    assert sorted(map(tuple, events.collect())) == [
        ("a", 2, 3.0, True),
        ("a", 6, 5.0, False),
        ("b", 2, 4.0, False),
        ("b", 4, 1.0, True),
    ]

    # The interactions follow a rebuilt range.
    spark.sql(f"UPDATE {lake.name('shop.silver')} SET rating = 0 WHERE user_id = 'b'")
    RUN(runtime(spark, tmp_path, rebuild_from="2024-05-01", until="2024-06-01"))
    assert interactions(lake) == [("a", 5.0, 6), ("b", 1.0, 4)]


def test_job_without_a_source_builds_no_interactions(spark: SparkSession, tmp_path: Path) -> None:
    at = runtime(spark, tmp_path, interactions=None)
    add(at, ("a", 1, 1, 0, 0))
    RUN(at)
    assert not at.lakehouse.exists(INTERACTIONS.name)
    RUN(runtime_in(spark, tmp_path))
    assert not at.lakehouse.exists(INTERACTIONS.name)
    with pytest.raises(ValidationError, match=r"interactions\.source visits is no silver table"):
        runtime(spark, tmp_path, interactions={"source": "visits"})
