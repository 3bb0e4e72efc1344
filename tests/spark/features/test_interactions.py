"""The last rating of each user for each item, whatever the order of the events."""

from datetime import datetime

import pandas as pd
import pytest
from pyspark.sql import SparkSession
from tests.support.executions import executions

from matchlake.features.interactions import latest_interactions, unknown_keys

EVENTS = (
    "user_id STRING, item_id STRING, rating DOUBLE, event_time TIMESTAMP, "
    "kafka_timestamp TIMESTAMP, topic STRING, partition INT, offset BIGINT"
)


def event(user: str, rating: float, *order: int) -> tuple[object, ...]:
    said, arrived, partition, offset = order
    times = [datetime(2024, 1, day) for day in (said, arrived)]
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


@pytest.mark.parametrize("order", [1, -1])
def test_ties_are_broken_by_arrival_and_broker_position(spark: SparkSession, order: int) -> None:
    found = latest_interactions(spark.createDataFrame(CASES[::order], EVENTS))
    assert found.columns == ["user_id", "item_id", "rating", "event_time"]
    rows = found.collect()
    assert len(rows) == 5
    assert {row.rating for row in rows} == {5.0}


def test_agrees_with_pandas_on_many_events(spark: SparkSession) -> None:
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
    found = latest_interactions(frame).toPandas().set_index(keys).sort_index()
    pd.testing.assert_frame_equal(found, expected.sort_index())


def test_unknown_keys_are_counted(spark: SparkSession) -> None:
    ratings = spark.createDataFrame([("a",), ("b",), ("b",), ("c",)], "user_id STRING")
    users = spark.createDataFrame([("a",), ("a",)], "user_id STRING")
    assert tuple(unknown_keys(ratings, users, "user_id").collect()[0]) == (3, 2)


@pytest.mark.local_only
def test_starts_no_execution(spark: SparkSession) -> None:
    frame = spark.createDataFrame(CASES, EVENTS)
    assert executions(spark, lambda: latest_interactions(frame)) == 0
