"""The job build_features on a small lakehouse: what it writes, and that a rerun changes nothing."""

import json
import logging
import runpy
from datetime import datetime
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from matchlake.config import load_config
from matchlake.errors import TableError
from matchlake.io.delta import Lakehouse
from matchlake.io.secrets import EnvironmentSecrets
from matchlake.io.tracking import Tracker
from matchlake.runtime import Runtime
from matchlake.schemas import Column, TableSpec

RUN = runpy.run_path("jobs/build_features.py")["run"]


def runtime(spark: SparkSession, folder: Path) -> Runtime:
    overrides = [f"lakehouse={folder}", f"features.folder={folder}/models"]
    config = load_config("local", overrides)
    lake = Lakehouse(spark, folder=config.warehouse)
    return Runtime(spark, config, lake, EnvironmentSecrets(), Tracker(config.tracking))


def write(
    lake: Lakehouse, table: str, columns: dict[str, str], rows: list[tuple[object, ...]]
) -> None:
    spec = TableSpec(table, "", tuple(Column(name, kind, "") for name, kind in columns.items()))
    lake.replace(lake.spark.createDataFrame(rows, spec.struct()), spec)


def write_bronze(lake: Lakehouse) -> None:
    time = datetime(2024, 5, 1)
    event = {
        "user_id": "STRING",
        "item_id": "STRING",
        "rating": "DOUBLE",
        "event_time": "TIMESTAMP",
    }
    event |= {"kafka_timestamp": "TIMESTAMP", "topic": "STRING"}
    event |= {"partition": "INT", "offset": "BIGINT"}
    ratings = [("u1", "i1", 3.0, time, time, "t", 0, 1), ("u1", "i1", 4.0, time, time, "t", 0, 2)]
    ratings += [("u9", "i2", 5.0, time, time, "t", 0, 3), ("u9", "i1", 5.0, time, time, "t", 0, 4)]
    write(lake, "bronze.ratings", event, ratings)
    user = {"user_id": "STRING", "age": "INT", "gender": "STRING", "occupation": "STRING"}
    users = [("u1", 20, "F", "student"), ("u2", 60, "M", None), ("u3", 30, "F", "none")]
    write(lake, "bronze.users", user, users)
    item = {"item_id": "STRING", "title": "STRING", "year": "INT", "genres": "ARRAY<STRING>"}
    items = [("i1", "A", 1990, ["Sci-Fi", "Drama"]), ("i2", "B", None, [])]
    write(lake, "bronze.items", item, items)


def test_writes_silver_gold_and_state_and_a_rerun_changes_nothing(
    spark: SparkSession, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    at = runtime(spark, tmp_path)
    lake = at.lakehouse
    with pytest.raises(TableError, match=r"No table bronze\.ratings"):
        RUN(at)
    write_bronze(lake)
    with caplog.at_level(logging.INFO, "matchlake"):
        RUN(at)
    assert "2 interactions are of 1 unknown user_id value(s); they are kept" in caplog.text
    tables = {name: lake.read(name).collect() for name in lake.tables() if "bronze" not in name}
    assert {name: len(rows) for name, rows in tables.items()} == {
        "gold.feature_sets": 2,
        "gold.feature_vocabulary": 10,
        "gold.item_features": 2,
        "gold.user_features": 3,
        "silver.interactions": 3,
    }
    users = lake.read("gold.user_features")
    assert [tuple(row) for row in users.orderBy("user_id").collect()] == [
        ("u1", 1, 0, 0, 0, 1, 0, 0.0),
        ("u2", 0, 1, 0, 0, 0, 1, 1.0),
        ("u3", 1, 0, 0, 1, 0, 0, 0.25),
    ]
    assert all("comment" in field.metadata for field in users.schema)
    state = json.loads((tmp_path / "models" / "users" / "1.json").read_text())
    assert [f["name"] for f in state["features"]] == ["gender", "occupation", "age_scaled"]
    caplog.clear()
    with caplog.at_level(logging.INFO, "matchlake"):
        RUN(at)
    assert "feature set users version 1 as before" in caplog.text
    again = {name: lake.read(name).collect() for name in tables}
    assert {name: sorted(rows) for name, rows in again.items() if name != "gold.item_features"} == {
        name: sorted(rows) for name, rows in tables.items() if name != "gold.item_features"
    }


def test_new_data_raises_the_version_and_keeps_the_old_columns(
    spark: SparkSession, tmp_path: Path
) -> None:
    at = runtime(spark, tmp_path)
    write_bronze(at.lakehouse)
    RUN(at)
    item = {"item_id": "STRING", "title": "STRING", "year": "INT", "genres": "ARRAY<STRING>"}
    write(at.lakehouse, "bronze.items", item, [("i1", "A", 1990, ["War"]), ("i3", "C", 2000, None)])
    RUN(at)
    items = at.lakehouse.read("gold.item_features")
    assert [tuple(row) for row in items.orderBy("item_id").collect()] == [
        ("i1", 0, 0, 1, 0.0),
        ("i3", 0, 0, 0, 1.0),
    ]
    assert items.columns == [
        "item_id",
        "genres_Drama",
        "genres_Sci_Fi",
        "genres_War",
        "year_scaled",
    ]
    versions = (
        at.lakehouse.read("gold.feature_sets").where("feature_set = 'items'").select("version")
    )
    assert sorted(row[0] for row in versions.collect()) == [1, 2]
