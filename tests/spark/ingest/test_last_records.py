"""Which record of a key is the last: by offset within a partition, by time between partitions."""

import runpy
from pathlib import Path

import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F
from tests.support.histories import (
    LATE_AFTER_HOURS,
    bronze_rows,
    found,
    history,
    left,
    replay_pieces,
    rows_found,
)
from tests.support.silver_tables import add, runtime

from matchlake.errors import ConfigError
from matchlake.ingest.last_records import Topics, last_per_key
from matchlake.ingest.silver import silver_specs

RUN = runpy.run_path("jobs/build_silver.py")["run"]


def test_within_a_partition_the_offset_decides_whatever_the_clock_says(
    spark: SparkSession,
) -> None:
    rows = spark.sql("""
        SELECT key, 't' AS topic, partition, CAST(offset AS BIGINT) AS offset,
               timestamp_seconds(at) AS kafka_timestamp
        FROM VALUES ('skewed', 0, 0, 180), ('skewed', 0, 1, 0), ('skewed', 0, 2, 90),
                    ('circle', 0, 3, 10), ('circle', 0, 4, 3), ('circle', 1, 0, 5),
                    ('equal', 0, 5, 7), ('equal', 1, 1, 7), ('no time', 0, 6, NULL)
                    AS t(key, partition, offset, at)
    """)
    expected = {"skewed": (0, 2), "circle": (1, 0), "equal": (1, 1), "no time": (0, 6)}
    for frame in (rows.orderBy("offset"), rows.orderBy(F.desc("offset"), "partition")):
        last = last_per_key(frame, ["key"]).collect()
        assert {row.key: (row.partition, row.offset) for row in last} == expected


@pytest.mark.soak
def test_a_merge_keeps_the_higher_offset(spark: SparkSession, tmp_path: Path) -> None:
    at = runtime(spark, tmp_path, "pairs")
    table = at.config.silver.tables["pairs"].table
    # The clock of the first producer is fast: by 3 hours, then by 9.
    add(at, "('valid', 'k1', 'a', 2, 0, 3, 0), ('valid', 'k1', 'a', 5, 0, 0, 1)")
    RUN(at)
    assert [(row.rating, row.offset) for row in at.lakehouse.read(table).collect()] == [(5.0, 1)]
    add(at, "('valid', 'k1', 'a', 3, 0, 9, 2), ('valid', 'k1', 'a', 4, 0, 1, 3)")
    RUN(at)
    assert [(row.rating, row.offset) for row in at.lakehouse.read(table).collect()] == [(4.0, 3)]


DELETES = {"change_data": "tombstones", "key_columns": ["item_id"]}


@pytest.mark.parametrize("deletes", [0.0, 0.3])
def test_rows_agree_with_python(spark: SparkSession, tmp_path: Path, deletes: float) -> None:
    at = runtime(
        spark,
        tmp_path,
        "items",
        lateness_threshold_seconds=LATE_AFTER_HOURS * 3600,
        stream=DELETES if deletes else {},
    )
    (spec,) = silver_specs(at.config.silver, at.config.streams).values()
    records = history(seed=7, keys=150, pieces=1, deletes=deletes)
    assert rows_found(spec.rows(bronze_rows(at, records))) == left(records)


@pytest.mark.soak
@pytest.mark.parametrize(
    ("keys", "pieces", "deletes"), [(80, 2, 0.3), (400, 8, 0.0), (400, 8, 0.3)]
)
def test_a_merge_in_pieces_gives_what_a_rebuild_gives(
    spark: SparkSession, tmp_path: Path, keys: int, pieces: int, deletes: float
) -> None:
    at = runtime(
        spark,
        tmp_path,
        "items",
        lateness_threshold_seconds=LATE_AFTER_HOURS * 3600,
        stream=DELETES if deletes else {},
    )
    table = at.config.silver.tables["items"].table
    records = history(seed=11, keys=keys, pieces=pieces, deletes=deletes)
    for valid in replay_pieces(at, records):
        RUN(at)
        assert found(at, table) == left(valid)
    (spec,) = silver_specs(at.config.silver, at.config.streams).values()
    rebuilt = spec.rows(at.lakehouse.read(spec.stream.table))
    rebuilt.write.format("delta").mode("overwrite").saveAsTable(at.lakehouse.name(table))
    assert found(at, table) == left(records)


def test_keys_other_than_those_of_deletes_are_refused(spark: SparkSession, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="but stream events deletes rows by item_id"):
        RUN(runtime(spark, tmp_path, "pairs", stream=DELETES))


def test_a_topic_that_is_created_again_is_another_partition(spark: SparkSession) -> None:
    rows = spark.sql("""
        SELECT 'k' AS key, 't' AS topic, 0 AS partition, offset, checkpoint_id,
               timestamp_seconds(at) AS kafka_timestamp
        FROM VALUES (1000L, 1L, 10), (1001L, 1L, 9), (3L, 2L, 20) AS t(offset, checkpoint_id, at)
    """)
    topics = Topics(("first", "second"), {1: 0, 2: 1})
    (row,) = last_per_key(topics.marked(rows), ["key"]).collect()
    assert (row.offset, row.several_partitions) == (3, True)
    (row,) = last_per_key(Topics().marked(rows), ["key"]).collect()
    assert (row.offset, row.several_partitions) == (1001, False)
