"""silver.interactions: one row per user and item, built from silver tables of events."""

import random
import runpy
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from pydantic import ValidationError
from pyspark.sql import DataFrame, SparkSession
from tests.support.executions import executions
from tests.support.lakes import forget_tables
from tests.support.streams import COLUMNS, runtime_in, stream_entry

from matchlake.errors import ConfigError
from matchlake.ingest.interactions import InteractionsSpec, Source
from matchlake.ingest.params import InteractionsParams, SilverTable, StreamParams
from matchlake.ingest.silver import SilverSpec
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
    params = InteractionsParams.model_validate(
        {"sources": {"events": {"rating": "rating"} | names}}
    )
    source = Source("events", params.sources["events"], SilverSpec(stream, table))
    return InteractionsSpec(params, {"events": source})


def rows(of: InteractionsSpec, frame: DataFrame) -> DataFrame:
    """The rows of the one source `events`."""
    return of.rows(of.events({"events": frame}))


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
    found = rows(spec(), spark.createDataFrame(CASES[::step], EVENTS))
    assert found.columns == ["user_id", "item_id", "rating", "event_time"]
    ratings = [row.rating for row in found.collect()]
    assert ratings == [5.0] * 5


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
    keys, order = ["user_id", "item_id"], ["event_time", "kafka_timestamp", "partition"]
    events = frame.toPandas().sort_values(["event_time", "offset"])
    newest = events.groupby([*keys, "partition"], as_index=False).last().sort_values(order)
    expected = newest.groupby(keys).last()[["rating", "event_time"]]
    found = rows(spec(), frame).toPandas().set_index(keys).sort_index()
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
    for rating, value in (("pieces", 3.0), ("pieces * 2.5", 7.5), (None, 1.0)):
        found = rows(spec(PURCHASES, **named, rating=rating), frame)
        assert [tuple(row)[:3] for row in found.collect()] == [("7", "s", value)]
        assert dict(found.dtypes)["rating"] == "double"
    for wrong, told in (("sku", r"'sku' is string: it has to be a number"), ("x", "UNRESOLVED")):
        with pytest.raises(ConfigError, match=told):
            rows(spec(PURCHASES, **named, rating=wrong), frame)
    with pytest.raises(ConfigError, match=r"item_id shop of .* has to be a required column"):
        rows(spec(PURCHASES, user_id="customer", item_id="shop"), frame)


@pytest.mark.local_only
def test_rows_starts_no_execution(spark: SparkSession) -> None:
    frame = spark.createDataFrame(CASES, EVENTS)
    assert executions(spark, lambda: rows(spec(), frame)) == 0


def runtime(spark: SparkSession, folder: Path, name: str = "shop", **silver: Any) -> Runtime:
    """A stream and its silver table, both in schema `name`."""
    forget_tables(spark)
    keys = ["user_id", "item_id", "event_time"]
    tables = {"events": {**TABLE, "table": f"{name}.silver", "keys": keys}}
    sources = {"events": {"rating": "rating"}}
    declared = {"tables": tables, "interactions": {"sources": sources}, **silver}
    streams = {"events": stream_entry("t", name, lateness_threshold_seconds=3600)}
    return runtime_in(spark, folder, streams=streams, silver=declared)


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


@pytest.mark.soak
def test_job_late_and_repeated_events_reach_the_interactions(
    spark: SparkSession, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "matchlake")
    at = runtime(spark, tmp_path)
    lake = at.lakehouse
    # Offset 1 repeats the event of offset 0 with another rating; offset 2 is older, and late.
    add(at, ("a", 5, 1, 0, 0), ("a", 5, 2, 1, 1), ("a", 1, 3, 500, 2), ("b", 1, 4, 0, 9))
    RUN(at)
    assert interactions(lake) == [("a", 2.0, 6), ("b", 4.0, 2)]
    assert "silver.interactions: 2 row(s) from events" in caplog.text

    version = lake.version(INTERACTIONS.name)
    RUN(at)
    assert lake.version(INTERACTIONS.name) == version, "nothing new, nothing written"

    # A correction of the last event, an event later than it that comes late, and an older record
    # of an event that is there already, as a replay finds it.
    add(at, ("a", 5, 5, 2, 10), ("b", 3, 1, 500, 11), ("b", 1, 9, 1, 6))
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
    with pytest.raises(
        ValidationError, match=r"interactions\.sources visits is not a silver table"
    ):
        runtime(spark, tmp_path, interactions={"sources": {"visits": {}}})


WRONG = [
    ({"sources": {}}, "at least 1 item"),
    ({"sources": {"a": {"rating": "reflect('x')"}}}, "not an allowed function"),
    ({"sources": {"a": {"rating": "1"}}, "aggregation": "count"}, "leave out the rating of a"),
    ({"sources": {"a": {}}, "reference_time": "2024-05-01"}, "only with half_life_days"),
    ({"sources": {"a": {}}, "half_life_days": 0}, "greater than 0"),
]


@pytest.mark.parametrize(("keys", "message"), WRONG)
def test_params_refuse_what_makes_no_sense(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        InteractionsParams.model_validate(keys)


def test_params_one_stream_is_one_source(spark: SparkSession, tmp_path: Path) -> None:
    tables = {name: {**TABLE, "table": f"shop.{name}", "keys": ["user_id"]} for name in "ab"}
    with pytest.raises(ValidationError, match="a and b have the same stream events"):
        runtime(spark, tmp_path, tables=tables, interactions={"sources": {"a": {}, "b": {}}})


DAY = datetime(2024, 1, 1)


def shop(**keys: Any) -> InteractionsSpec:
    """Views that count 1 and purchases that count 5 for each piece."""
    columns = {name: c for name, c in PURCHASES.items() if name not in ("customer", "sku")}
    columns |= {name: COLUMNS[name] for name in ("user_id", "item_id")}
    sources = {"views": {}, "purchases": {"rating": "pieces * 5"}}
    if keys["aggregation"] == "count":
        sources["purchases"] = {}
    params = InteractionsParams.model_validate({"sources": sources, **keys})
    specs = {}
    for name in sources:
        stream = StreamParams.model_validate(stream_entry(name, "shop", columns=columns))
        silver = SilverTable.model_validate({**TABLE, "keys": ["event_time"], "table": f"s.{name}"})
        specs[name] = Source(name, params.sources[name], SilverSpec(stream, silver))
    return InteractionsSpec(params, specs)


Event = tuple[str, str, int | None, int, int, str, int, int]
"""user, item, pieces, day of the event, day in Kafka, topic, partition, offset."""


def shop_events(seed: int) -> list[Event]:
    draw = random.Random(seed)  # noqa: S311 - cases, no secrets
    return [
        (
            *(f"u{draw.randrange(12)}", f"i{draw.randrange(3)}"),
            *(draw.choice([None, 1, 2, 3]), draw.randrange(6), draw.randrange(6)),
            *(draw.choice(["views", "purchases"]), draw.randrange(3), offset),
        )
        for offset in range(400)
    ]


def expected(events: list[Event], aggregation: str, half_life: float | None) -> dict[Any, Any]:
    """The rating and the day of each pair, in plain Python."""
    by_pair: dict[tuple[str, str], list[tuple[float, Event]]] = {}
    for each in events:
        user, item, pieces, day, _, topic, _, _ = each
        purchase = topic == "purchases" and aggregation != "count"
        rating = (None if pieces is None else pieces * 5.0) if purchase else 1.0
        if rating is not None:
            decay = 0.5 ** (max(0, 4 - day) / half_life) if half_life else 1.0
            by_pair.setdefault((user, item), []).append((rating * decay, each))
    found = {}
    for pair, those in by_pair.items():
        newest: dict[tuple[str, int], tuple[float, Event]] = {}
        for rated in sorted(those, key=lambda pair: (pair[1][3], pair[1][7])):
            newest[rated[1][5], rated[1][6]] = rated
        last = max(newest.values(), key=lambda pair: (pair[1][3], pair[1][4], *pair[1][5:7]))
        ratings = sorted(rating for rating, _ in those)
        of = {"last": last[0], "max": ratings[-1]}.get(aggregation, sum(ratings))
        found[pair] = (pytest.approx(of), max(each[3] for _, each in those))
    return found


@pytest.mark.parametrize(
    ("aggregation", "half_life"), [("last", None), ("sum", 2.0), ("count", 1.5), ("max", None)]
)
def test_rows_of_two_streams_agree_with_python(
    spark: SparkSession, aggregation: str, half_life: float | None
) -> None:
    events = shop_events(seed=5)
    schema = (
        "user_id STRING, item_id STRING, pieces INT, day INT, arrived INT, topic STRING,"
        " partition INT, offset BIGINT"
    )
    whole = spark.createDataFrame(events[::-1], schema).selectExpr(
        *(
            "user_id",
            "item_id",
            "pieces",
            "timestampadd(DAY, day, TIMESTAMP'2024-01-01') AS event_time",
            "timestampadd(DAY, arrived, TIMESTAMP'2024-01-01') AS kafka_timestamp",
        ),
        *("topic", "partition", "offset"),
    )
    keys = {"half_life_days": half_life, "reference_time": "2024-01-05"} if half_life else {}
    of = shop(aggregation=aggregation, **keys)
    tables = {name: whole.where(f"topic = '{name}'") for name in of.sources}
    found = of.rows(of.events(tables)).collect()
    days = {(row.user_id, row.item_id): (row.rating, (row.event_time - DAY).days) for row in found}
    assert len(days) == len(found)
    assert days == expected(events, aggregation, half_life)


@pytest.mark.soak
def test_job_events_without_a_rating_are_counted_and_a_failing_one_is_explained(
    spark: SparkSession, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    unrated = {"events": {"rating": "nullif(rating, 3)"}}
    decayed = {"sources": unrated, "half_life_days": 1}
    at = runtime(spark, tmp_path, "rated", interactions=decayed)
    add(at, ("a", 1, 3, 0, 0), ("b", 1, 4, 0, 1), ("c", 2, 4, 0, 2))
    RUN(at)
    assert "1 event(s) without a finite rating are left out" in caplog.text
    assert interactions(at.lakehouse) == [("b", 2.0, 2), ("c", 4.0, 3)]
    failing = {"events": {"rating": "1 / (rating - 3)"}}
    with pytest.raises(ConfigError, match=r"fails with DIVIDE_BY_ZERO .* Write try_divide"):
        RUN(runtime(spark, tmp_path, "rated", interactions={"sources": failing}))
