"""The job `build_silver`: each event once in any order, late ones marked, ranges rebuilt."""

import runpy
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession
from tests.support.silver_tables import TABLES, add, runtime, same

from matchlake.config import load_config
from matchlake.errors import ConfigError
from matchlake.ingest.silver_builds import Builds
from matchlake.io.delta import Lakehouse
from matchlake.io.delta_properties import set_properties
from matchlake.io.delta_schema import CHANGES
from matchlake.runtime import job_arguments

JOB = runpy.run_path("jobs/build_silver.py")
run = JOB["run"]


def content(lakehouse: Lakehouse, table: str) -> list[tuple[Any, ...]]:
    chosen = lakehouse.read(table).selectExpr(
        "user_id", "item_id", "rating", "day(event_time) AS day", "offset", "late"
    )
    return sorted(map(tuple, chosen.collect()))


@pytest.mark.soak
def test_repeated_and_late_events_in_any_order_and_a_rebuilt_range(
    spark: SparkSession, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "matchlake")
    both = runtime(spark, tmp_path, *TABLES)
    lake, bronze = both.lakehouse, both.config.streams["events"].table
    pairs, items = (table.table for table in both.config.silver.tables.values())
    add(
        both,
        "('valid', 'a', 'i', 1, 0, 0, 10), ('valid', 'a', 'i', 2, 0, 5, 12), ('valid', 'b', 'i', 3,"
        " 1, 5, 13), ('quarantined', 'c', 'i', 3, 1, 0, 14), ('valid', 'a', 'j', 3, 2, 1, 15)",
    )
    run(both)
    # a's first record came in time and its last one counts; b's only one came late.
    second, third = ("a", "j", 3.0, 3, 15, False), ("b", "i", 3.0, 2, 13, False)
    assert content(lake, pairs) == [("a", "i", 2.0, 1, 12, False), second, (*third[:5], True)]
    assert content(lake, items) == [second, third]
    message = "pairs, rebuilt: 4 valid record(s), 2 of them late = 3 event(s) + 1 repeated"
    assert message in caplog.text

    # What comes then is merged: an earlier record of b's event, as a replay finds it, in time
    # after all; a later one of a's; a new event.
    at = runtime(spark, tmp_path, "pairs")
    run(at)
    assert "pairs: nothing new in" in caplog.text
    add(
        at,
        "('valid', 'b', 'i', 9, 1, 0, 3), ('valid', 'a', 'i', 4, 0, 9, 20),"
        " ('valid', 'c', 'k', 1, 3, 9, 21)",
    )
    spark.sql(f"UPDATE {lake.name(bronze)} SET _error_message = 'x' WHERE offset = 14")
    run(at)
    assert "pairs: 3 valid record(s), 2 of them late = 1 event(s) + 2 repeated" in caplog.text
    last = ("c", "k", 1.0, 4, 21, True)
    rows = [("a", "i", 4.0, 1, 20, False), second, third, last]
    assert content(lake, pairs) == rows
    # The same again: a merge of records that are in the table changes nothing.
    before = lake.read(pairs, lake.version(pairs))
    builds = Builds(pairs, lake)
    number, built = builds.last()
    assert built["version"] == lake.version(bronze)
    earlier = built | {"version": 1}
    builds._commit_metadata({"number": number + 1, "built_from": earlier, "run": "test"})
    run(at)
    assert builds.last() == (number + 2, built)
    assert same(lake.read(pairs), before)

    for each in (pairs, items):
        spark.sql(f"DELETE FROM {lake.name(each)} WHERE user_id = 'b'")
    spark.sql(f"UPDATE {lake.name(pairs)} SET rating = 0 WHERE day(event_time) < 3")
    run(runtime(spark, tmp_path, *TABLES, rebuild_from="2024-05-01", until="2024-05-03T00:00:00Z"))
    assert same(lake.read(pairs), before)
    assert content(lake, items) == [("a", "i", 4.0, 1, 20, False), second, last]
    message = "pairs, rebuilt: 5 valid record(s), 3 of them late = 2 event(s) + 3 repeated"
    assert message in caplog.text


@pytest.mark.soak
def test_the_table_is_rebuilt_if_a_merge_is_impossible(
    spark: SparkSession, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "matchlake")
    at = runtime(spark, tmp_path, "pairs")
    lake, pairs = at.lakehouse, at.config.silver.tables["pairs"].table
    bronze = at.config.streams["events"].table
    add(at, "('valid', 'a', 'i', 1, 0, 0, 1), ('valid', 'b', 'i', 1, 0, 2, 2)")
    run(at)
    spark.sql(f"UPDATE {lake.name(bronze)} SET _status = 'erased', user_id = NULL WHERE offset = 1")
    run(at)
    assert "1 valid record(s) are gone" in caplog.text
    assert content(lake, pairs) == [("b", "i", 1.0, 1, 2, True)]

    run(runtime(spark, tmp_path, "pairs", lateness_threshold_seconds=7200))
    assert content(lake, pairs) == [("b", "i", 1.0, 1, 2, False)]

    run(at)
    set_properties(lake, bronze, {CHANGES: "false"})
    add(at, "('valid', 'c', 'i', 1, 0, 0, 3)")
    run(at)
    assert [row[0] for row in content(lake, pairs)] == ["b", "c"]
    assert "its changes are no longer kept" in caplog.text


def test_a_key_has_to_be_a_required_column_and_a_stream_declared(
    spark: SparkSession, tmp_path: Path
) -> None:
    wrong = {"pairs": {"stream": "events", "table": "s.p", "comment": "c", "keys": ["colour"]}}
    with pytest.raises(ConfigError, match=r"key colour of s\.p has to be a required column"):
        run(runtime(spark, tmp_path, tables=wrong))
    wrong["pairs"]["stream"] = "nothing"
    with pytest.raises(ValueError, match=r"pairs\.stream: nothing is not a stream; streams: ev"):
        runtime(spark, tmp_path, tables=wrong)


def test_the_range_is_given_by_two_options() -> None:
    given = ["--rebuild-from", "2024-05-01", "--until", "2024-06-01T12:00:00+02:00"]
    silver = load_config("demo", job_arguments("build_silver", given, JOB["RANGE"]).set).silver
    assert str(silver.rebuild_from) == "2024-05-01 00:00:00+00:00"
    assert str(silver.until) == "2024-06-01 12:00:00+02:00"
    for wrong in (given[:2], [*given[:2], "--until", "2024-05-01"]):
        with pytest.raises(ConfigError, match=r"set both|before until"):
            load_config("demo", job_arguments("build_silver", wrong, JOB["RANGE"]).set)
