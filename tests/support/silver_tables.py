"""Silver tables for tests: a runtime that declares some, rows for bronze, and a comparison."""

from pathlib import Path
from typing import Any

from pyspark.sql import DataFrame, SparkSession
from tests.support.streams import runtime_in, stream_entry

from matchlake.ingest.tables import stream_table
from matchlake.runtime import Runtime

KEYS = ["user_id", "item_id", "event_time"]
TABLES = {"pairs": KEYS, "items": ["item_id"]}


def runtime(
    spark: SparkSession,
    folder: Path,
    *tables: str,
    lateness_threshold_seconds: float = 3600,
    stream: dict[str, Any] | None = None,
    **changes: Any,
) -> Runtime:
    """A stream and silver tables: `pairs` by KEYS, `items` by item alone, as an event's id is.

    `stream` has more keys of the stream, `changes` those of `silver`.
    """
    name = folder.name.replace("-", "_")
    silver = {
        short: {"stream": "events", "table": f"{name}.{short}", "comment": "c", "keys": keys}
        for short, keys in TABLES.items()
        if short in tables
    }
    keys = {"lateness_threshold_seconds": lateness_threshold_seconds, **(stream or {})}
    streams = {"events": stream_entry("t", name, **keys)}
    return runtime_in(spark, folder, streams=streams, silver={"tables": silver, **changes})


def add(at: Runtime, events: str) -> None:
    """Rows (status, user, item, rating, day, hours until Kafka took it, offset) into bronze."""
    spec = stream_table(at.config.streams["events"])
    at.lakehouse.create(spec)
    rows = at.spark.sql(f"""
        SELECT _status, 't' AS topic, 0 AS partition, CAST(offset AS BIGINT) AS offset,
               if(_status = 'valid', user, null) AS user_id,
               if(_status = 'valid', item, null) AS item_id,
               if(_status = 'valid', CAST(rating AS DOUBLE), null) AS rating,
               if(_status = 'valid', happened, null) AS event_time,
               timestampadd(HOUR, hours, happened) AS kafka_timestamp
        FROM (SELECT *, timestampadd(DAY, day, TIMESTAMP'2024-05-01') AS happened
              FROM VALUES {events} AS t(_status, user, item, rating, day, hours, offset))
    """)
    rows.write.format("delta").mode("append").saveAsTable(at.lakehouse.name(spec.name))


def same(one: DataFrame, other: DataFrame) -> bool:
    """Whether two frames have the same rows."""
    return one.exceptAll(other).isEmpty() and other.exceptAll(one).isEmpty()
