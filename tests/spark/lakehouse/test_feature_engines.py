"""Spark and DuckDB build the same feature table: state, rows, table, counters; and refusals."""

import logging
import math
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
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
from matchlake.features.categories import OneHot
from matchlake.features.feature_set import FeatureSet
from matchlake.features.kinds import Feature
from matchlake.features.model import FeatureModel
from matchlake.features.numeric import NumericEncoder
from matchlake.features.params import EngineName, FeatureTable
from matchlake.features.scalers import MinMax, Number, Robust, ZScore
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
        source=SOURCE, table=f"gold.{name}", comment="Given", features=declared, **more
    )


def built(
    lake: Lakehouse, features: Mapping[str, Feature], engine: EngineName, **more: Any
) -> tuple[FeatureModel, str]:
    table = table_of(features, f"t_{engine}", **more)
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


def same_rows(lake: Lakehouse, left: str, right: str, near: set[str]) -> None:
    one, other = (lake.read(table).toPandas().sort_values("id") for table in (left, right))
    assert list(one.columns) == list(other.columns)
    for name in one.columns:
        values, others = one[name].to_numpy(), other[name].to_numpy()
        if name in near:
            np.testing.assert_allclose(values.astype(float), others.astype(float), rtol=1e-15 * 64)
        elif values.dtype == object:
            listed = [
                [None if v is None else list(v) for v in column] for column in (values, others)
            ]
            assert listed[0] == listed[1], name
        else:
            np.testing.assert_array_equal(values, others, name)


@pytest.fixture(scope="module")
def lake(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Lakehouse:
    return lake_with(spark, tmp_path_factory.mktemp("engines"), cases(), SCHEMA)


def test_engines_give_equal_states_tables_and_counters(lake: Lakehouse) -> None:
    made = [built(lake, ALL, engine, layout="index") for engine in ENGINES]
    same_states(made[0][0], made[1][0])
    same_rows(lake, made[0][1], made[1][1], set(CLOSE))
    facts = [about(lake, table) for _, table in made]
    for key in facts[0]:
        assert facts[0][key] == facts[1][key], key
