"""Spark and DuckDB build the same feature table: state, rows, table, counters; and refusals."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pytest
from py4j.protocol import Py4JError
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession
from tests.support.executions import collected
from tests.support.feature_cases import (
    CATEGORICAL,
    CLOSE,
    EXACT,
    SCHEMA,
    SETS,
    cases,
)
from tests.support.lakes import forget_tables

from matchlake.errors import EngineError, TableError
from matchlake.features.feature_set import FeatureSet
from matchlake.features.kinds import Feature
from matchlake.features.model import FeatureModel
from matchlake.features.numeric import NumericEncoder
from matchlake.features.params import EngineName, FeatureTable
from matchlake.features.scalers import MinMax, Number, Robust
from matchlake.io.delta import Lakehouse
from matchlake.io.delta_properties import read_properties
from matchlake.io.erased_users import ERASED_USERS
from matchlake.io.salt import Salt
from matchlake.lakehouse import feature_engines
from matchlake.lakehouse.feature_build import build_feature_table

ENGINES: tuple[EngineName, ...] = ("spark", "duckdb")
SOURCE = "bronze.given"


def exactly_fitted(features: Mapping[str, Feature]) -> dict[str, Feature]:
    """Without the features that need quantiles, which Spark approximates."""
    return {
        name: each
        for name, each in features.items()
        if not isinstance(each, NumericEncoder) or not each.quantiles()
    }


ALL = exactly_fitted(CATEGORICAL | EXACT | CLOSE)


def lake_with(spark: SparkSession, folder: Path, rows: list[Any], schema: str) -> Lakehouse:
    forget_tables(spark)
    lake = Lakehouse(spark, folder=str(folder))
    path = str(folder / "bronze" / "given")
    frame = spark.createDataFrame(rows, schema)
    frame.repartition(3).write.format("delta").mode("append").save(path)
    return lake


def table_of(features: Mapping[str, Feature], name: str, **more: Any) -> FeatureTable:
    declared = FeatureSet(name=name, keys=more.pop("keys", ("id",)), features=dict(features))
    return FeatureTable(
        **{"source": SOURCE, "table": f"gold.{name}", "comment": "Given"} | more,
        features=declared,
    )


def built(
    lake: Lakehouse, features: Mapping[str, Feature], engine: EngineName, **more: Any
) -> tuple[FeatureModel, str]:
    table = table_of(features, f"{more.pop('prefix', 't')}_{engine}", **more)
    return build_feature_table(lake, table, None, engine), table.table


def about(lake: Lakehouse, table: str) -> dict[str, Any]:
    """What the catalog and the log say of a table, but for its name."""
    schema = lake.read(table).schema.jsonValue()
    detail = lake.spark.sql(f"DESCRIBE DETAIL {lake.name(table)}").collect()[0]
    properties = read_properties(lake, table)
    properties.pop("matchlake.feature_set")
    counts = lake.read("gold.feature_counts").where(f"table_name = '{table}'")
    return {
        "schema": schema,
        "properties": properties,
        "comment": detail["description"],
        "partitions": list(detail["partitionColumns"]),
        "protocol": (detail["minReaderVersion"], detail["minWriterVersion"]),
        "version": lake.version(table),
        "counts": collected(counts.drop("table_name", "counted_at", "feature_set")),
    }


def close(left: Any, right: Any, limit: float) -> bool:
    if left is None or right is None or isinstance(left, str | bool):
        return bool(left == right)
    return left == right or abs(left - right) <= limit * max(abs(left), abs(right))


def same_states(left: FeatureModel, right: FeatureModel) -> None:
    """Equal to the bit, but for what logarithms enter."""
    for one, other in zip(left.features, right.features, strict=True):
        if one.form == "number" and any("log" in need for need in one.feature.needs()):
            for name, value in one.learned:
                assert close(value, getattr(other.learned, name), 1e-15), (one.name, name)
        else:
            assert one == other


def plain(value: Any) -> Any:
    """Lists and structs as tuples, whatever pandas made of them."""
    if isinstance(value, list | tuple | np.ndarray):
        return tuple(map(plain, value))
    return tuple(map(plain, value.values())) if isinstance(value, dict) else value


def same_rows(lake: Lakehouse, left: str, right: str, near: set[str]) -> None:
    one, other = (lake.read(table).toPandas().sort_values("id") for table in (left, right))
    assert list(one.columns) == list(other.columns)
    for name in one.columns:
        values, others = one[name].to_numpy(), other[name].to_numpy()
        if name in near:
            np.testing.assert_allclose(values.astype(float), others.astype(float), rtol=1e-15 * 64)
        elif values.dtype == object:
            assert list(map(plain, values)) == list(map(plain, others)), name
        else:
            np.testing.assert_array_equal(values, others, name)


@pytest.fixture(scope="module")
def lake(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Lakehouse:
    return lake_with(spark, tmp_path_factory.mktemp("engines"), cases(), SCHEMA)


def assert_equal_builds(lake: Lakehouse, features: Mapping[str, Feature], **more: Any) -> None:
    made = [built(lake, features, engine, **more) for engine in ENGINES]
    same_states(made[0][0], made[1][0])
    same_rows(lake, made[0][1], made[1][1], set(CLOSE))
    facts = [about(lake, table) for _, table in made]
    for key in facts[0]:
        assert facts[0][key] == facts[1][key], key


def test_engines_give_equal_states_tables_and_counters(lake: Lakehouse) -> None:
    assert_equal_builds(lake, ALL, layout="index")


@pytest.mark.soak
def test_engines_are_equal_if_the_columns_of_the_table_change(lake: Lakehouse) -> None:
    assert_equal_builds(lake, ALL, layout="index", prefix="c")
    assert_equal_builds(lake, ALL, prefix="c")


@pytest.mark.soak
@pytest.mark.parametrize("features", SETS.values(), ids=SETS)
@pytest.mark.parametrize("layout", ["wide", "index", "sparse"])
def test_engines_are_equal_for_other_types_and_layouts(
    lake: Lakehouse, features: Mapping[str, Feature], layout: str
) -> None:
    kept = {name: each for name, each in exactly_fitted(features).items() if each.column != "m"}
    kept.pop("m", None)
    assert_equal_builds(lake, kept, layout=layout)


def test_functions_of_both_engines_differ_by_two_units_in_the_last_place(
    spark: SparkSession,
) -> None:
    random = np.random.default_rng(1)
    given = pd.DataFrame({"x": np.concatenate([random.normal(0, s, 5000) for s in (1, 30, 1e-6)])})
    query = "SELECT exp(x) AS e, ln(abs(x)) AS l, tanh(x) AS t FROM {}"
    spark.createDataFrame(given).createOrReplaceTempView("given")
    ours = spark.sql(query.format("given")).toPandas()
    with duckdb.connect() as engine:
        theirs = engine.execute(query.format("given")).df()
    for name in ours:
        assert (abs(ours[name] - theirs[name]) <= 2 * np.spacing(abs(ours[name]))).all(), name


@pytest.mark.soak
def test_engines_are_equal_in_partitions(lake: Lakehouse) -> None:
    """Partitions by a boolean with nulls, and a key of every other type that DuckDB writes."""
    keys = ("id", "b", "i", "d", "f", "n", "s", "t", "m", "c")
    full = [f"COALESCE({k}, element_at(array_agg({k}) OVER (), 1)) AS {k}" for k in keys[2:]]
    path = f"{lake.folder}/bronze/full"
    lake.spark.table(f"delta.`{lake.folder}/bronze/given`").limit(300).selectExpr(
        "id", "b", *full
    ).write.format("delta").save(path)
    features = {"n_x": MinMax(column="n")}
    assert_equal_builds(lake, features, keys=keys, split_by="b", prefix="p", source="bronze.full")


def test_duckdb_honours_erased_users(spark: SparkSession, tmp_path: Path) -> None:
    rows = [("u1", 1.0), ("u2", 2.0), (None, 3.0), ("u2", 4.0)]
    at = lake_with(spark, tmp_path, rows, "user_id STRING, n DOUBLE")
    salt = Salt(b"pepper")
    lake = Lakehouse(spark, folder=at.folder, salt=lambda: salt)
    known = spark.createDataFrame(
        [(salt.hash("u2"), salt.id)], "user_hash STRING, salt_id STRING"
    ).selectExpr("*", "current_timestamp() AS erased_at")
    lake.append(known, ERASED_USERS)
    table = table_of({"n": Number()}, "t", keys=("user_id",))
    path = at.path("gold.t")
    with pytest.raises(TableError, match=r"column user_id would have 1 null\(s\)"):
        build_feature_table(lake, table, None, "duckdb")
    assert path is not None
    assert not list(Path(path).glob("*.parquet"))
    spark.sql("DELETE FROM bronze.given WHERE user_id IS NULL")
    build_feature_table(lake, table, None, "duckdb")
    assert collected(lake.read("gold.t")) == [("u1", 1.0)]


@pytest.mark.soak
def test_duckdb_interrupted_leaves_the_old_rows_and_no_files(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake = lake_with(spark, tmp_path, [(1, 1.0), (2, 5.0)], "id INT, n DOUBLE")
    table = table_of({"x": MinMax(column="n")}, "t")
    build_feature_table(lake, table, None, "duckdb")
    folder, version = Path(str(lake.path("gold.t"))), lake.version("gold.t")
    before = sorted(folder.rglob("*.parquet"))
    lake.spark.sql("INSERT INTO bronze.given VALUES (3, 3.0D)")
    with monkeypatch.context() as patched:
        patched.setattr(feature_engines, "overwrite_files", _interrupt)
        with pytest.raises(KeyboardInterrupt):
            build_feature_table(lake, table, None, "duckdb")
    assert (sorted(folder.rglob("*.parquet")), lake.version("gold.t")) == (before, version)
    (folder / "part-of-a-killed-run.parquet").write_bytes(b"PAR1")
    build_feature_table(lake, table, None, "duckdb")
    assert collected(lake.read("gold.t")) == [(1, 0.0), (2, 1.0), (3, 0.5)]
    assert lake.version("gold.t") == version + 2  # the rows, and the version of the new state
    spark.sql("INSERT INTO gold.t VALUES (4, 0.25D)")
    with pytest.raises((PySparkException, Py4JError), match="range_x"):
        spark.sql("INSERT INTO gold.t VALUES (5, 7.0D)")
    build_feature_table(lake, table, None, "spark")
    assert collected(lake.read("gold.t")) == [(1, 0.0), (2, 1.0), (3, 0.5)]


def _interrupt(*_: Any) -> None:
    raise KeyboardInterrupt


@pytest.mark.soak
def test_what_duckdb_cannot_do_is_refused_or_left_to_spark(
    spark: SparkSession, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lake = lake_with(spark, tmp_path, [(1, 1.0), (2, 5.0)], "id INT, n DOUBLE")

    def refused(features: Mapping[str, Feature], reason: str) -> None:
        table = table_of(features, "t")
        with pytest.raises(EngineError, match=reason) as error:
            build_feature_table(lake, table, None, "duckdb")
        assert "gold.t needs Spark" in str(error.value)
        caplog.clear()
        with caplog.at_level(logging.INFO, "matchlake"):
            build_feature_table(lake, table, None, "auto")
        assert "gold.t is built by Spark" in caplog.text
        assert lake.read("gold.t").count() == 2

    refused({"n": Robust()}, r"feature n \(robust\) of column n needs quantiles")
    spark.sql("ALTER TABLE gold.t ADD CONSTRAINT mine CHECK (id > 0)")
    refused({"n": Number()}, "gold.t has constraints that only Spark checks: mine")
    spark.sql("ALTER TABLE gold.t DROP CONSTRAINT mine")
    options = "('delta.enableDeletionVectors' = 'true')"
    spark.sql(f"ALTER TABLE bronze.given SET TBLPROPERTIES {options}")
    refused({"n": Number()}, "bronze.given has features that only Spark reads: deletionVectors")
