"""The job build_features on a small lakehouse: what it writes, and that a rerun changes nothing."""

import json
import logging
import runpy
import shutil
from datetime import datetime
from pathlib import Path

import pytest
from pydantic import ValidationError
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession
from tests.support.executions import collected
from tests.support.lakes import forget_tables

from matchlake.config import load_config
from matchlake.errors import TableError
from matchlake.features.feature_set import FeatureSet
from matchlake.features.feature_tables import feature_rows, unknown_keys
from matchlake.features.fit import fit_features
from matchlake.features.params import FeatureTable
from matchlake.features.scalers import MinMax, Number
from matchlake.io.delta import Lakehouse
from matchlake.io.delta_properties import read_properties
from matchlake.io.mlflow_tracking import Tracker
from matchlake.io.secrets import EnvironmentSecrets
from matchlake.lakehouse.feature_build import build_feature_table
from matchlake.runtime import Runtime
from matchlake.schemas import INTERACTIONS, Column, TableSpec

RUN = runpy.run_path("jobs/build_features.py")["run"]


def runtime(spark: SparkSession, folder: Path, *more: str) -> Runtime:
    forget_tables(spark)
    overrides = [f"lakehouse={folder}", f"features.folder={folder}/models", *more]
    config = load_config("demo", overrides)
    lake = Lakehouse(spark, folder=config.warehouse)
    return Runtime(spark, config, lake, EnvironmentSecrets(), Tracker(config.tracking))


def write(
    lake: Lakehouse, table: str, columns: dict[str, str], rows: list[tuple[object, ...]]
) -> None:
    kinds = tuple(Column(name, kind, "") for name, kind in columns.items())
    spec = TableSpec(table, "", kinds, user_columns=())
    lake.replace(lake.frame(rows, spec), spec)


def write_sources(lake: Lakehouse) -> None:
    time = datetime(2024, 5, 1)
    ratings = [("u1", "i1", 4.0, time), ("u9", "i2", 5.0, time), ("u9", "i1", 5.0, time)]
    lake.replace(lake.frame(ratings, INTERACTIONS), INTERACTIONS)
    user = {"user_id": "STRING", "age": "INT", "gender": "STRING", "occupation": "STRING"}
    users = [("u1", 20, "F", "student"), ("u2", 60, "M", None), ("u3", 30, "F", "none")]
    write(lake, "bronze.users", user, users)
    items = [("i1", "A", 1990, ["Sci-Fi", "Drama"]), ("i2", "B", None, [])]
    write(lake, "bronze.items", ITEM, items)


ITEM = {"item_id": "STRING", "title": "STRING", "year": "INT", "genres": "ARRAY<STRING>"}


def contents(lake: Lakehouse) -> dict[str, list[tuple[object, ...]]]:
    return {name: collected(lake.read(name)) for name in lake.tables() if "bronze" not in name}


def counts(lake: Lakehouse, table: str) -> list[tuple[object, ...]]:
    """What each write of the table met, the first write first; without version and time."""
    found = lake.read("gold.feature_counts").where(f"table_name = '{table}'")
    return [tuple(row)[4:] for row in found.orderBy("table_version", "feature").collect()]


@pytest.mark.soak
def test_build_features_rerun_changes_nothing_and_new_data_raises_the_version(
    spark: SparkSession, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    at = runtime(spark, tmp_path)
    lake = at.lakehouse
    with pytest.raises(TableError, match=r"No table bronze\.items"):
        RUN(at)
    write_sources(lake)
    with caplog.at_level(logging.INFO, "matchlake"):
        RUN(at)
    assert "2 interactions have one of 1 unknown user_id value(s)" in caplog.text
    assert "gold.user_features: 7 features by users version 1" in caplog.text
    assert "gold.user_features: values that the fit has not seen: occupation.null 1" in caplog.text
    first = contents(lake)
    assert {name: len(rows) for name, rows in first.items()} == {
        "gold.feature_counts": 5,
        "gold.feature_sets": 2,
        "gold.feature_vocabulary": 11,
        "gold.item_features": 2,
        "gold.user_features": 3,
        "silver.interactions": 3,
    }
    assert first["gold.user_features"] == [
        ("u1", 1, 0, 0, 0, 1, 0, 0.0),
        ("u2", 0, 1, 0, 0, 0, 1, 1.0),
        ("u3", 1, 0, 0, 1, 0, 0, 0.25),
    ]
    assert all("comment" in field.metadata for field in lake.read("gold.user_features").schema)
    facts = read_properties(lake, "gold.user_features")
    assert facts["matchlake.feature_set_version"] == "1"
    assert facts["delta.dataSkippingStatsColumns"] == "`user_id`"
    assert "BETWEEN 0.0 AND 1.0" in facts["delta.constraints.range_age_scaled"]
    state = json.loads((tmp_path / "models" / "users" / "1.json").read_text())
    assert [f["name"] for f in state["features"]] == ["gender", "occupation", "age_scaled"]
    RUN(at)
    again = contents(lake)
    assert len(again.pop("gold.feature_counts")) == 2 * len(first.pop("gold.feature_counts"))
    assert again == first
    write(lake, "bronze.items", ITEM, [("i1", "A", 1990, ["War"]), ("i3", "C", 2000, None)])
    RUN(at)
    items = lake.read("gold.item_features")
    assert collected(items) == [("i1", 0, 0, 1, 0, 0.0), ("i3", 0, 0, 0, 1, 1.0)]
    assert items.columns == [
        *("item_id", "genres_Drama", "genres_Sci_Fi", "genres_War", "genres_null", "year_scaled"),
    ]
    versions = lake.read("gold.feature_sets").where("feature_set = 'items'").select("version")
    assert collected(versions) == [(1,), (2,)]
    vocabulary = lake.read("gold.feature_vocabulary").where("feature_set = 'items'")
    told = ("version", "position", "feature_index", "column_name", "role", "category", "rows")
    assert [tuple(row) for row in vocabulary.select(*told).orderBy(*told[:2]).collect()] == [
        (1, 0, 1, "genres_Drama", "category", "Drama", 1),
        (1, 1, 2, "genres_Sci_Fi", "category", "Sci-Fi", 1),
        (1, 2, 3, "genres_null", "null", None, 0),
        (1, 3, 0, "year_scaled", "number", None, None),
        (2, 0, 1, "genres_Drama", "category", "Drama", 0),
        (2, 1, 2, "genres_Sci_Fi", "category", "Sci-Fi", 0),
        (2, 2, 3, "genres_War", "category", "War", 1),
        (2, 3, 4, "genres_null", "null", None, 1),
        (2, 4, 0, "year_scaled", "number", None, None),
    ]
    kept = collected(lake.read("gold.feature_vocabulary"))
    assert set(first["gold.feature_vocabulary"]) <= set(kept)


def test_feature_rows_empty_string_in_split_key_raises_and_null_does_not(
    spark: SparkSession, tmp_path: Path
) -> None:
    """Delta makes a null of an empty text that it partitions by."""
    features = FeatureSet(name="t", keys=("k",), features={"n": MinMax()})
    wanted = FeatureTable(source="a.b", table="a.c", comment="", features=features, split_by="k")
    frame = spark.createDataFrame([("a", 1), (None, 2), ("", 3)], "k STRING, n INT")
    model, kept = fit_features(frame, features), frame.where("k IS NULL OR k > ''")
    folder = str(tmp_path / "split")
    writer = feature_rows(model, wanted, kept).write.format("delta").partitionBy("k")
    writer.save(folder)
    assert collected(spark.read.format("delta").load(folder)) == [("a", 0.0), (None, 0.5)]
    assert feature_rows(model, wanted, kept).collect() == model.transform(kept).collect()
    with pytest.raises(PySparkException, match="split_by k has an empty string"):
        feature_rows(model, wanted, frame).collect()


@pytest.mark.soak
def test_build_features_reuses_a_state_and_skips_a_missing_source(
    spark: SparkSession, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    at = runtime(spark, tmp_path, "features.tables.items.reuse_fitted_state=true")
    lake = at.lakehouse
    write_sources(lake)
    spark.sql("DROP TABLE bronze.users")
    shutil.rmtree(tmp_path / "warehouse" / "bronze" / "users")
    with caplog.at_level(logging.INFO, "matchlake"):
        RUN(at)
        assert "gold.user_features is left out: bronze.users has no rows" in caplog.text
        write(lake, "bronze.items", ITEM, [("i1", "A", 1980, ["War"]), ("i3", "C", 2000, None)])
        RUN(at)
    assert not lake.exists("gold.user_features")
    assert collected(lake.read("gold.feature_sets").select("feature_set", "version")) == [
        ("items", 1)
    ]
    assert collected(lake.read("gold.item_features")) == [
        ("i1", 0, 0, 0, 0.0),
        ("i3", 0, 0, 1, 1.0),
    ]
    counted = (
        "genres.null 1, genres.unknown_category 1, year_scaled.below_min 1, year_scaled.above_max 1"
    )
    assert f"gold.item_features: values that the fit has not seen: {counted}" in caplog.text
    assert counts(lake, "gold.item_features") == [
        (1, "genres", 2, 0, None, None, 0),
        (1, "year_scaled", 2, 1, 0, 0, None),
        (1, "genres", 2, 1, None, None, 1),
        (1, "year_scaled", 2, 0, 1, 1, None),
    ]
    assert "The declaration has changed" not in caplog.text
    items = at.config.features.tables["items"]
    declared = items.features.features | {"year_scaled": Number(column="year")}
    changed = items.features.model_copy(update={"features": declared})
    build_feature_table(at.lakehouse, items.model_copy(update={"features": changed}))
    expected = (
        "gold.item_features reuses items version 1. The declaration has changed since then in: "
    )
    assert f"{expected}year_scaled" in caplog.text


def test_unknown_keys_two_rows_of_one_key_count_once(spark: SparkSession) -> None:
    ratings = spark.createDataFrame([("a",), ("b",), ("b",), ("c",)], "user_id STRING")
    users = spark.createDataFrame([("a",), ("a",)], "user_id STRING")
    assert tuple(unknown_keys(ratings, users, "user_id").collect()[0]) == (3, 2)


@pytest.mark.soak
def test_build_features_sparse_layout_and_split_by(spark: SparkSession, tmp_path: Path) -> None:
    at = runtime(spark, tmp_path, "features.tables.items.layout=sparse")
    lake = at.lakehouse
    write_sources(lake)
    RUN(at)
    items = lake.read("gold.item_features")
    assert items.columns == ["item_id", "features"]
    vocabulary = lake.read("gold.feature_vocabulary").where("feature_set = 'items'")
    names = {row["feature_index"]: row["column_name"] for row in vocabulary.collect()}
    found = {row["item_id"]: row["features"] for row in items.collect()}
    assert [names[i] for i in found["i1"]["indices"]] == [
        *("year_scaled", "genres_Drama", "genres_Sci_Fi"),
    ]
    assert found["i2"]["values"] == [0.0]
    users = at.config.features.tables["users"]
    keys = ("user_id", "gender")
    changed = FeatureSet(name="users", keys=keys, features={"age_scaled": MinMax(column="age")})
    build_feature_table(
        at.lakehouse, users.model_copy(update={"features": changed, "split_by": "gender"})
    )
    folders = (tmp_path / "warehouse" / "gold" / "user_features").glob("gender=*")
    assert sorted(folder.name for folder in folders) == ["gender=F", "gender=M"]
    women = lake.read("gold.user_features").where("gender = 'F'")
    assert collected(women) == [("u1", "F", 0.0), ("u3", "F", 0.25)]
    with pytest.raises(ValidationError, match="split_by age is not a key of the set"):
        FeatureTable.model_validate(users.model_dump() | {"split_by": "age"})
