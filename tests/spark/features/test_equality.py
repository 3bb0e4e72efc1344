"""One fitted state, four engines: Spark, duckdb, pandas and NumPy give the same on all inputs."""

import itertools
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from pyspark.sql import DataFrame, SparkSession
from tests.support.feature_cases import (
    ARROW,
    CASES,
    CATEGORICAL,
    CLOSE,
    EXACT,
    SCHEMA,
    SETS,
    cases,
)

from matchlake.features.feature_set import FeatureSet
from matchlake.features.fit import fit_features
from matchlake.features.kinds import Feature
from matchlake.features.model import FeatureModel, Layout


def is_small(value: float | None, limit: float) -> bool:
    return value is None or not limit < abs(value) < np.inf


def to_pandas(table: pa.Table) -> pd.DataFrame:
    """In the order of ids. From here on a null is NaN, so that no NaN may stand for a value."""
    for column in table.columns:
        if pa.types.is_struct(column.type):
            column = pc.list_flatten(pc.struct_field(column, "values"))  # noqa: PLW2901
        assert not (pa.types.is_floating(column.type) and pc.any(pc.is_nan(column)).as_py())
    return table.to_pandas().sort_values("id")


def in_spark_sql(frame: DataFrame, model: FeatureModel, layout: Layout) -> pd.DataFrame:
    """The frame's own transform, once its query over a view was seen to give the same rows."""
    frame.createOrReplaceTempView("given")
    tables = [
        found.toArrow().sort_by("id")
        for found in (
            model.transform(frame, layout),
            frame.sparkSession.sql(model.to_sql("given", "spark", layout)),
        )
    ]
    assert tables[0].equals(tables[1])
    return to_pandas(tables[0])


def in_duckdb(
    model: FeatureModel, rows: Sequence[tuple[Any, ...]], layout: Layout = "wide"
) -> pd.DataFrame:
    names = ARROW.names
    given = pa.Table.from_pylist([dict(zip(names, row, strict=True)) for row in rows], ARROW)
    with duckdb.connect() as engine:
        engine.register("given", given)
        return to_pandas(engine.sql(model.to_sql("given", "duckdb", layout)).to_arrow_table())


def in_pandas(rows: Sequence[tuple[Any, ...]]) -> pd.DataFrame:
    """Left to itself, pandas makes whole numbers with nulls floats, and large ones others."""
    columns = {
        name: pd.Series([row[at] for row in rows], dtype="Int64" if name in "ist" else object)
        for at, name in enumerate(ARROW.names)
    }
    return pd.DataFrame(columns).set_axis(range(7, 7 + len(rows)))


def matrix(frame: pd.DataFrame, model: FeatureModel) -> np.ndarray[Any, np.dtype[np.float64]]:
    names = [output.name for output in model.outputs()]
    return frame[names].to_numpy(dtype=np.float64, na_value=np.nan)


@pytest.fixture(scope="module")
def rows() -> list[tuple[Any, ...]]:
    return cases()


@pytest.fixture(scope="module")
def model(spark: SparkSession, rows: list[tuple[Any, ...]]) -> FeatureModel:
    """Fitted on the rows whose `n` is small or not finite, so that others are out of its range."""
    seen = [row for row in rows[::2] if is_small(row[5], 10) and is_small(row[6], 1e7)]
    features = FeatureSet(name="t", keys=("id",), features=CATEGORICAL | EXACT | CLOSE)
    return fit_features(spark.createDataFrame(seen, SCHEMA), features)


@pytest.fixture(scope="module")
def in_spark(spark: SparkSession, rows: list[tuple[Any, ...]], model: FeatureModel) -> pd.DataFrame:
    return in_spark_sql(spark.createDataFrame(rows, SCHEMA), model, "wide")


def assert_equal(
    found: np.ndarray[Any, Any], expected: np.ndarray[Any, Any], model: FeatureModel
) -> None:
    """Bit for bit, but to a relative 1e-12 where exp, log or tanh enter."""
    assert found.shape == expected.shape
    close = np.array([output.feature in CLOSE for output in model.outputs()])
    np.testing.assert_array_equal(found[:, ~close], expected[:, ~close])
    np.testing.assert_allclose(found[:, close], expected[:, close], rtol=1e-12, atol=0)


def test_to_sql_duckdb_equals_spark(
    rows: list[tuple[Any, ...]], model: FeatureModel, in_spark: pd.DataFrame
) -> None:
    found = in_duckdb(model, rows)
    assert list(found.columns) == list(in_spark.columns)
    assert_equal(matrix(found, model), matrix(in_spark, model), model)


def test_to_sql_duckdb_over_files_of_a_delta_table_equals_spark(
    spark: SparkSession,
    rows: list[tuple[Any, ...]],
    model: FeatureModel,
    in_spark: pd.DataFrame,
    tmp_path: Path,
) -> None:
    folder = str(tmp_path / "given")
    for part in (rows[:900], rows[900:]):
        spark.createDataFrame(part, SCHEMA).write.format("delta").mode("append").save(folder)
    files = [
        unquote(urlsplit(f).path) for f in spark.read.format("delta").load(folder).inputFiles()
    ]
    with duckdb.connect() as engine:
        query = model.to_sql(f"read_parquet({files})", "duckdb")
        found = to_pandas(engine.sql(query).to_arrow_table())
    assert len(files) > 1
    assert_equal(matrix(found, model), matrix(in_spark, model), model)


def test_transform_pandas_equals_spark(
    rows: list[tuple[Any, ...]], model: FeatureModel, in_spark: pd.DataFrame
) -> None:
    frame = in_pandas(rows)
    found = model.transform_pandas(frame)
    assert list(found.columns) == list(in_spark.columns)
    assert list(found.index) == list(frame.index)
    assert_equal(matrix(found, model), matrix(in_spark, model), model)


def test_transform_numpy_arrays_and_rows_equal_spark(
    rows: list[tuple[Any, ...]], model: FeatureModel, in_spark: pd.DataFrame
) -> None:
    columns = {name: values.to_numpy(dtype=object) for name, values in in_pandas(rows).items()}
    found = model.transform_numpy(columns)
    assert_equal(found, matrix(in_spark, model), model)
    single = np.array(
        [model.transform_numpy(dict(zip(ARROW.names, row, strict=True))) for row in rows]
    )
    assert_equal(single, found, model)


def from_sparse(frame: pd.DataFrame, model: FeatureModel) -> np.ndarray[Any, Any]:
    """The matrix in the order of the output columns, out of the sparse column."""
    names = [output.name for output in model.indexed_outputs()]
    full = np.zeros((len(frame), len(names)))
    for row, entry in enumerate(frame["features"]):
        indices = np.array(entry["indices"])
        assert (np.diff(indices) > 0).all()
        full[row, indices] = np.array(entry["values"], dtype=np.float64)
    order = [names.index(output.name) for output in model.outputs()]
    return full[:, order]


def test_sparse_layout_equals_the_wide_one(
    spark: SparkSession, rows: list[tuple[Any, ...]], model: FeatureModel, in_spark: pd.DataFrame
) -> None:
    expected = matrix(in_spark, model)
    found = in_spark_sql(spark.createDataFrame(rows, SCHEMA), model, "sparse")
    assert list(found.columns) == ["id", "features"]
    assert_equal(from_sparse(found, model), expected, model)
    assert_equal(from_sparse(in_duckdb(model, rows, "sparse"), model), expected, model)
    assert_equal(from_sparse(sparse_numpy(model, rows), model), expected, model)


def sparse_numpy(model: FeatureModel, rows: Sequence[tuple[Any, ...]]) -> pd.DataFrame:
    starts, indices, values, width = model.sparse_numpy(dict(in_pandas(rows)))
    assert width == len(model.outputs())
    entries = [
        {"indices": indices[a:b], "values": values[a:b]} for a, b in itertools.pairwise(starts)
    ]
    return pd.DataFrame({"features": entries})


def from_indices(frame: pd.DataFrame, model: FeatureModel) -> np.ndarray[Any, Any]:
    """The matrix in the order of the output columns, out of the columns of indices."""
    names = [output.name for output in model.indexed_outputs()]
    full = np.zeros((len(frame), len(names)))
    for fitted in model.features:
        if fitted.form == "number":
            for output in fitted.outputs():
                full[:, names.index(output.name)] = frame[output.name].to_numpy(np.float64)
            continue
        for row, found in enumerate(frame[fitted.name]):
            ones = found if fitted.is_list else [] if pd.isna(found) else [found]
            assert (np.diff(ones) > 0).all()
            full[row, [int(one) for one in ones]] = 1
    order = [names.index(output.name) for output in model.outputs()]
    return full[:, order]


def test_index_layout_equals_the_wide_one(
    spark: SparkSession, rows: list[tuple[Any, ...]], model: FeatureModel, in_spark: pd.DataFrame
) -> None:
    given = spark.createDataFrame(rows, SCHEMA)
    kinds = dict(model.transform(given, "index").dtypes)
    assert {"id", "c_many", "l_own", "n_clip", "n_number_null"} <= set(kinds)
    assert (kinds["c_many"], kinds["l_own"]) == ("int", "array<int>")
    expected, frame = matrix(in_spark, model), in_pandas(rows)
    for found in (
        in_spark_sql(given, model, "index"),
        in_duckdb(model, rows, "index"),
        model.transform_pandas(frame, "index"),
    ):
        assert list(found.columns) == list(kinds)
        assert_equal(from_indices(found, model), expected, model)
    none = model.transform_pandas(frame[:0], "index")
    assert (list(none.columns), len(none)) == (list(kinds), 0)


@pytest.mark.parametrize("features", SETS.values(), ids=SETS)
def test_transform_other_features_and_types_equal_in_all_engines(
    spark: SparkSession, rows: list[tuple[Any, ...]], features: Mapping[str, Feature]
) -> None:
    """In all engines and layouts; fitted on some rows, so that others are unseen."""
    few = rows[:300]
    frame = spark.createDataFrame(few, SCHEMA)
    declared = FeatureSet(name="t", keys=("id",), features=dict(features))
    model = fit_features(frame.where("id % 3 > 0"), declared)
    expected = matrix(in_spark_sql(frame, model, "wide"), model)
    given = in_pandas(few)
    columns = {name: values.to_numpy(dtype=object) for name, values in given.items()}
    single = [model.transform_numpy(dict(zip(ARROW.names, row, strict=True))) for row in few]
    assert len(model.outputs()) == expected.shape[1] == model.sparse_numpy(columns).width
    for found in (
        matrix(in_duckdb(model, few), model),
        matrix(model.transform_pandas(given), model),
        model.transform_numpy(columns),
        np.array(single),
        from_sparse(in_spark_sql(frame, model, "sparse"), model),
        from_sparse(in_duckdb(model, few, "sparse"), model),
        from_sparse(sparse_numpy(model, few), model),
        from_indices(in_spark_sql(frame, model, "index"), model),
        from_indices(in_duckdb(model, few, "index"), model),
        from_indices(model.transform_pandas(given, "index"), model),
    ):
        assert_equal(found, expected, model)


def test_cases_every_column_has_a_value(
    rows: list[tuple[Any, ...]], model: FeatureModel, in_spark: pd.DataFrame
) -> None:
    """Every column is something else than zero somewhere, but for a third boolean."""
    values = matrix(in_spark, model)
    logging.getLogger(__name__).info("%d rows x %d columns", *values.shape)
    assert len(rows) == CASES
    names = np.array([output.name for output in model.outputs()])
    idle = names[(np.nan_to_num(values) == 0).all(axis=0)]
    assert set(idle) <= {"b_own_unknown", "b_share_unknown", "b_mode_unknown"}
    numbers = [row[5] for row in rows if row[5] is not None]
    assert np.isnan(numbers).any()
    assert np.isinf(numbers).any()
