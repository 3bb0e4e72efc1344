"""The job `maintain_tables`: tables brought to what is declared, and nothing removed too early."""

import os
import re
import runpy
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession
from tests.support.lakes import forget_tables
from tests.support.streams import runtime_in, stream_entry

from matchlake.errors import TableError
from matchlake.ingest.files.tables import lake_table
from matchlake.ingest.tables import stream_table
from matchlake.io.delta_maintenance import MaintainParams
from matchlake.io.delta_properties import read_properties, set_properties
from matchlake.io.erasure_marks import mark_erasure, warn_of_erasures
from matchlake.lakehouse.erasure import Erasure
from matchlake.lakehouse.table_registry import table_names
from matchlake.runtime import Runtime

load = runpy.run_path("jobs/load_lake.py")["run"]
maintain = runpy.run_path("jobs/maintain_tables.py")["run"]

USERS: dict[str, Any] = {
    "path": "users*.csv",
    "format": "csv",
    "table": "bronze.users",
    "comment": "Users.",
    "keys": ["user_id"],
    "columns": {
        "user_id": {"type": "string", "comment": "u"},
        "age": {"type": "int", "required": False, "min": 0, "max": 120, "comment": "a"},
        "gender": {"type": "string", "required": False, "one_of": ["M", "it's"], "comment": "g"},
    },
}
REFUSED = "DELTA_VIOLATE_CONSTRAINT_WITH_VALUES"


@pytest.fixture(autouse=True)
def catalog(spark: SparkSession) -> Iterator[None]:
    forget_tables(spark)
    yield
    forget_tables(spark)


def runtime(spark: SparkSession, folder: Path, oldest: int = 120, **maintained: Any) -> Runtime:
    age = USERS["columns"]["age"] | {"max": oldest}
    users = USERS | {"columns": USERS["columns"] | {"age": age}}
    return runtime_in(
        spark,
        folder,
        streams={"events": stream_entry("t", "bronze")},
        lake={"sources": {"users": users}},
        maintain=maintained,
    )


def write_users(folder: Path, *rows: str) -> None:
    (folder / "lake").mkdir(exist_ok=True)
    (folder / "lake" / "users.csv").write_text("\n".join(["user_id,age,gender", *rows, ""]))


def add_users(at: Runtime, *rows: str) -> None:
    """Users as SQL, in one commit."""
    at.lakehouse.create(lake_table(at.config.lake.sources["users"]))
    at.spark.sql(f"INSERT INTO bronze.users VALUES {', '.join(f'({row})' for row in rows)}")


def add_events(at: Runtime, offset: int, rating: float) -> None:
    """One valid event, in a commit and a file of its own."""
    at.lakehouse.create(stream_table(at.config.streams["events"]))
    at.spark.sql(
        "INSERT INTO bronze.events (_status, user_id, rating, topic, partition, offset)"
        f" VALUES ('valid', 'u', {rating}D, 't', 0, {offset})"
    )


@pytest.mark.soak
def test_tables_are_changed_to_their_declaration_and_stay_so(
    spark: SparkSession, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "matchlake")
    at = runtime(spark, tmp_path)
    add_events(at, 1, 3)
    add_events(at, 2, 4)
    add_users(at, "'a', 30, 'M'", "'b', 120, 'it\\'s'", "'c', null, null")
    spark.sql("ALTER TABLE bronze.users ALTER COLUMN age COMMENT 'old'")
    spark.sql("COMMENT ON TABLE bronze.users IS 'old'")
    spark.sql("ALTER TABLE bronze.users ADD CONSTRAINT theirs CHECK (user_id <> 'x')")
    clustered = {"cluster_by": {"bronze.events": ["user_id", "offset"]}}
    maintain(runtime(spark, tmp_path, **clustered))
    message = "bronze.events: clustered by user_id, offset, constraint known_status, constraint "
    assert f"{message}quarantined_with_code" in caplog.text
    assert "2 file(s) rewritten as 1" in caplog.text
    told = "bronze.users: 2 comment(s) changed, constraint age_allowed, constraint gender_allowed"
    assert told in caplog.text
    comments = {row.col_name: row.comment for row in spark.sql("DESCRIBE bronze.users").collect()}
    assert comments["age"] == "a"
    (detail,) = spark.sql("DESCRIBE DETAIL bronze.events").collect()
    assert (detail.clusteringColumns, detail.numFiles) == (["user_id", "offset"], 1)
    kept = read_properties(at.lakehouse, "bronze.events")["delta.dataSkippingStatsColumns"]
    looked_up = ("_status", "partition", "offset", "kafka_timestamp", "batch_id", "event_time")
    assert kept.replace("`", "").split(",") == [*looked_up, "user_id"]
    for wrong in ("age = 121", "age = -1", "gender = 'F'"):
        with pytest.raises(Exception, match=REFUSED):
            spark.sql(f"UPDATE bronze.users SET {wrong}")
    with pytest.raises(Exception, match=REFUSED):
        spark.sql("UPDATE bronze.events SET _status = 'quarantined'")

    versions = {name: at.lakehouse.version(name) for name in table_names(at.lakehouse, at.config)}
    assert {"bronze.events", "bronze.users"} == set(versions)
    caplog.clear()
    maintain(runtime(spark, tmp_path, vacuum=False, **clustered))
    for name, version in versions.items():
        assert f"{name}: nothing to do" in caplog.text
        assert at.lakehouse.version(name) == version


@pytest.mark.soak
def test_a_changed_range_of_conf_applies_and_rows_outside_it_are_reported(
    spark: SparkSession, tmp_path: Path
) -> None:
    add_users(runtime(spark, tmp_path), "'a', 30, 'M'")
    spark.sql("ALTER TABLE bronze.users ADD CONSTRAINT theirs CHECK (user_id <> 'x')")
    maintain(runtime(spark, tmp_path, vacuum=False))

    # The job that writes takes the old range off, this one adds the new.
    wider = runtime(spark, tmp_path, oldest=150, vacuum=False)
    write_users(tmp_path, "a,30,M", "b,140,M")
    load(wider)
    maintain(wider)
    with pytest.raises(Exception, match=REFUSED):
        spark.sql("UPDATE bronze.users SET age = 151")

    narrower = runtime(spark, tmp_path, oldest=100, vacuum=False)
    told = r"bronze.users has rows that break age_allowed \(`age` IS NULL OR .* <= 100.0\)\)"
    for _ in range(2):
        with pytest.raises(TableError, match=told):
            maintain(narrower)
    spark.sql("UPDATE bronze.users SET age = 99 WHERE user_id = 'b'")
    maintain(narrower)
    with pytest.raises(Exception, match=REFUSED):
        spark.sql("UPDATE bronze.users SET age = 101")
    there = read_properties(narrower.lakehouse, "bronze.users")
    assert there["delta.constraints.theirs"] == "user_id <> 'x'"


@pytest.mark.soak
def test_nothing_is_removed_below_the_retention_of_a_table(
    spark: SparkSession, tmp_path: Path
) -> None:
    at = runtime(spark, tmp_path)
    lake = at.lakehouse
    add_events(at, 1, 3)
    add_users(at, "'a', 30, 'M'")
    spark.sql("UPDATE bronze.events SET rating = 4")
    files = set(Path(lake.path("bronze.events") or "").glob("*.parquet"))
    versions = [lake.version(name) for name in table_names(lake, at.config)]
    told = r"bronze.events keeps its old files for 168 hours; maintain.vacuum_hours 24 would"
    with pytest.raises(TableError, match=told):
        maintain(runtime(spark, tmp_path, vacuum_hours=24))
    keep = "SET TBLPROPERTIES ('delta.deletedFileRetentionDuration' = 'interval 30 days')"
    spark.sql(f"ALTER TABLE bronze.users {keep}")
    with pytest.raises(TableError, match=r"bronze.users keeps its old files for 720 hours"):
        maintain(runtime(spark, tmp_path, vacuum_hours=200))
    with pytest.raises(TableError, match=r"bronze.users has no column town to cluster by; it has"):
        maintain(runtime(spark, tmp_path, cluster_by={"bronze.users": ["town"]}))
    versions[-1] += 1
    assert [lake.version(name) for name in table_names(lake, at.config)] == versions

    maintain(runtime(spark, tmp_path, optimize=False, vacuum_hours=720))
    assert files <= set(Path(lake.path("bronze.events") or "").glob("*.parquet"))
    with pytest.raises(TableError, match=r"No table bronze.nothing"):
        maintain(runtime(spark, tmp_path, tables=["bronze.nothing"]))

    # A table whose past nobody reads says so itself.
    kept = "SET TBLPROPERTIES ('delta.deletedFileRetentionDuration' = 'interval 1 hour')"
    spark.sql(f"ALTER TABLE bronze.events {kept}")
    orphan = Path(lake.path("bronze.events") or "") / "orphan.parquet"
    orphan.touch()
    os.utime(orphan, (0, 0))
    maintain(runtime(spark, tmp_path, tables=["bronze.events"], optimize=False))
    assert not orphan.exists()
    assert [row.rating for row in lake.read("bronze.events").collect()] == [4]


def test_no_table_is_vacuumed_of_files_younger_than_an_hour(
    spark: SparkSession, tmp_path: Path
) -> None:
    at = runtime(spark, tmp_path)
    add_events(at, 1, 3)
    unwritten = Path(at.lakehouse.path("bronze.events") or "") / "part-not-committed.parquet"
    unwritten.touch()
    os.utime(unwritten, (time.time() - 60,) * 2)
    keep = {"delta.deletedFileRetentionDuration": "interval 0 hours"}
    set_properties(at.lakehouse, "bronze.events", keep)
    told = r"bronze.events keeps its old files for 0 hours\. A VACUUM below 1 hour .* Set the"
    for hours in (None, 0, 1, 200):
        with pytest.raises(TableError, match=told):
            maintain(runtime(spark, tmp_path, vacuum_hours=hours))
    set_properties(at.lakehouse, "bronze.events", dict.fromkeys(keep, "interval 1 hour"))
    maintain(at)
    assert unwritten.exists()


@pytest.mark.soak
def test_a_table_with_a_pending_erasure_is_named_and_not_vacuumed(
    spark: SparkSession, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    at = runtime(spark, tmp_path)
    add_events(at, 1, 3)
    add_users(at, "'a', 30, 'M'")
    orphans = [
        Path(at.lakehouse.path(f"bronze.{name}") or "") / "o" for name in ("events", "users")
    ]
    for orphan in orphans:
        orphan.touch()
        os.utime(orphan, (0, 0))
    mark_erasure(at.lakehouse, "bronze.events", "a")
    told = r"bronze.events: the erasure of a user was begun at .* complete it: matchlake erase-user"
    with pytest.raises(TableError, match=told):
        maintain(at)
    assert [orphan.exists() for orphan in orphans] == [True, False]
    warn_of_erasures(at.lakehouse, ["bronze.events", "bronze.users"])
    (warning,) = (record for record in caplog.records if record.levelname == "WARNING")
    assert re.match(told, warning.getMessage())
    Erasure("a", [], at.lakehouse).run(["bronze.events"])
    maintain(at)
    assert not any(orphan.exists() for orphan in orphans)


def test_tables_are_named_with_their_schema() -> None:
    with pytest.raises(ValueError, match="not a valid name"):
        MaintainParams(tables=("users",))
    with pytest.raises(ValueError, match="not a valid name"):
        MaintainParams(cluster_by={"bronze.users; DROP": ("age",)})
