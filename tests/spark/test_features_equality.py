"""One fitted state, four engines: Spark, duckdb, pandas and NumPy give the same on all inputs."""

import itertools
import logging
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import strategies as st
from pyspark.sql import SparkSession
from tests.support.cases import many

from matchlake.features.buckets import Bucket
from matchlake.features.categories import MultiHot, OneHot
from matchlake.features.curves import LogNormal, Sigmoid, Tanh
from matchlake.features.feature_set import FeatureSet
from matchlake.features.fit import fit_features
from matchlake.features.model import FeatureModel, Layout
from matchlake.features.scalers import MaxAbs, Robust, ZScore
from matchlake.features.scaling import MinMax, Number

CASES = 2000
SCHEMA = (
    "id INT, c STRING, b BOOLEAN, i BIGINT, d DATE, n DOUBLE, p DOUBLE, f FLOAT, l ARRAY<STRING>"
)
ARROW = pa.schema(
    [
        pa.field("id", pa.int32()),
        pa.field("c", pa.string()),
        pa.field("b", pa.bool_()),
        pa.field("i", pa.int64()),
        pa.field("d", pa.date32()),
        pa.field("n", pa.float64()),
        pa.field("p", pa.float64()),
        pa.field("f", pa.float32()),
        pa.field("l", pa.list_(pa.string())),
    ]
)
SAME_CRC = ("plumless", "buckeroo")
TEXT = st.one_of(
    st.sampled_from(
        ["a", "A", "b", "", " ", "é", "e\u0301", "null", "${x}", "it's", "\\", "💥", *SAME_CRC]
    ),
    st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=6),
)
WHOLE = st.one_of(st.integers(-3, 3), st.integers(-(2**63), 2**63 - 1))
EDGES = [0.0, -0.0, 5e-324, 1e300, -1e300, float("inf"), float("-inf"), float("nan")]
REAL = st.one_of(st.floats(-10, 10), st.sampled_from(EDGES), st.floats(-1e300, 1e300))
ROW = st.tuples(
    st.none() | TEXT,
    st.none() | st.booleans(),
    st.none() | WHOLE,
    st.none() | st.dates(date(1, 1, 1)),
    st.none() | REAL,
    st.none() | st.floats(-1, 1e6) | st.sampled_from(EDGES),
    st.none() | st.floats(width=32),
    st.none() | st.lists(st.none() | TEXT, max_size=4),
)
KINDS = {"c": OneHot, "b": OneHot, "i": OneHot, "d": OneHot, "l": MultiHot}
CATEGORICAL = {
    f"{column}_{variant}": kind(column=column, **chosen)
    for column, kind in KINDS.items()
    for variant, chosen in {
        "zero": {"max_categories": 12},
        "own": {"max_categories": 5, "nulls": "column", "other": "column"},
        "share": {"coverage": 0.5, "max_categories": 30, "drop_first": True, "other": "column"},
        "mode": {"max_categories": 3, "nulls": "mode", "other": "column"},
    }.items()
}
CATEGORICAL |= {
    "c_many": OneHot(column="c", max_categories=500, other="column"),
    "i_many": OneHot(column="i", max_categories=500, nulls="column", drop_first=True),
}
EXACT = {
    "n_clip": MinMax(column="n"),
    "n_wide": MinMax(column="n", range=(-0.1, 0.2), nulls=0.5, flag_nulls=True),
    "n_keep": MinMax(column="n", out_of_range="keep"),
    "n_null": MinMax(column="n", out_of_range="null"),
    "f_mode": MinMax(column="f", nulls="mode"),
    "i_range": MinMax(column="i", nulls="median"),
    "b_range": MinMax(column="b"),
    "n_number": Number(column="n", nulls="median", flag_nulls=True),
    "n_fixed": Bucket(column="n", edges=(-1.5, 0.0, 7.0)),
    "n_parts": Bucket(column="n", quantiles=7),
    "f_abs": MaxAbs(column="f"),
    "n_robust": Robust(column="n", nulls=1.0),
}
CLOSE = {
    "f_z": ZScore(column="p", nulls="mean"),
    "n_sigmoid": Sigmoid(column="n"),
    "p_sigmoid": Sigmoid(column="p", standardize=True),
    "n_tanh": Tanh(column="n"),
    "p_tanh": Tanh(column="p", standardize=True),
    "p_log": LogNormal(column="p"),
    "p_share": LogNormal(column="p", output="share", nulls="mode"),
}


def cases() -> list[tuple[Any, ...]]:
    rows = many(ROW, CASES)
    return [(i, *row) for i, row in enumerate(rows)]


def is_small(value: float | None, limit: float) -> bool:
    return value is None or not limit < abs(value) < np.inf


def in_duckdb(
    model: FeatureModel, rows: Sequence[tuple[Any, ...]], layout: Layout = "columns"
) -> pd.DataFrame:
    names = ARROW.names
    given = pa.Table.from_pylist([dict(zip(names, row, strict=True)) for row in rows], ARROW)
    with duckdb.connect() as engine:
        engine.register("given", given)
        return engine.sql(model.to_sql("given", "duckdb", layout)).df().sort_values("id")


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
    found = model.transform(spark.createDataFrame(rows, SCHEMA)).toArrow().to_pandas()
    return found.sort_values("id")


def assert_equal(
    found: np.ndarray[Any, Any], expected: np.ndarray[Any, Any], model: FeatureModel
) -> None:
    """Bit for bit, but to 1e-12 where exp, log or tanh enter."""
    assert found.shape == expected.shape
    close = np.array([output.feature in CLOSE for output in model.outputs()])
    np.testing.assert_array_equal(found[:, ~close], expected[:, ~close])
    np.testing.assert_allclose(found[:, close], expected[:, close], rtol=1e-12, atol=1e-12)


def test_duckdb_gives_what_spark_gives(
    rows: list[tuple[Any, ...]], model: FeatureModel, in_spark: pd.DataFrame
) -> None:
    found = in_duckdb(model, rows)
    assert list(found.columns) == list(in_spark.columns)
    assert_equal(matrix(found, model), matrix(in_spark, model), model)


def test_duckdb_gives_the_same_over_the_files_of_a_delta_table(
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
        found = engine.sql(query).df().sort_values("id")
    assert len(files) > 1
    assert_equal(matrix(found, model), matrix(in_spark, model), model)


def test_pandas_gives_what_spark_gives(
    rows: list[tuple[Any, ...]], model: FeatureModel, in_spark: pd.DataFrame
) -> None:
    frame = pd.DataFrame(rows, columns=ARROW.names, index=range(7, 7 + len(rows)))
    # Left to itself, pandas makes whole numbers with nulls floats, and large ones others.
    at = ARROW.names.index("i")
    frame["i"] = pd.Series([row[at] for row in rows], index=frame.index, dtype="Int64")
    found = model.transform_pandas(frame)
    assert list(found.columns) == list(in_spark.columns)
    assert list(found.index) == list(frame.index)
    assert_equal(matrix(found, model), matrix(in_spark, model), model)


def test_numpy_gives_what_spark_gives_in_arrays_and_row_by_row(
    rows: list[tuple[Any, ...]], model: FeatureModel, in_spark: pd.DataFrame
) -> None:
    columns = {}
    for place, name in enumerate(ARROW.names):
        columns[name] = np.empty(len(rows), dtype=object)
        columns[name][:] = [row[place] for row in rows]
    found = model.transform_numpy(columns)
    assert_equal(found, matrix(in_spark, model), model)
    single = np.array(
        [model.transform_numpy(dict(zip(ARROW.names, row, strict=True))) for row in rows]
    )
    assert_equal(single, found, model)


def from_sparse(frame: pd.DataFrame, model: FeatureModel) -> np.ndarray[Any, Any]:
    """The matrix in the order of the output columns, out of the sparse column."""
    slots = [output.name for output in model.slots()]
    full = np.zeros((len(frame), len(slots)))
    for row, entry in enumerate(frame["features"]):
        indices = np.array(entry["indices"])
        assert (np.diff(indices) > 0).all()
        full[row, indices] = np.array(entry["values"], dtype=np.float64)
    order = [slots.index(output.name) for output in model.outputs()]
    return full[:, order]


def test_the_sparse_layout_holds_the_same(
    spark: SparkSession, rows: list[tuple[Any, ...]], model: FeatureModel, in_spark: pd.DataFrame
) -> None:
    frame = model.transform(spark.createDataFrame(rows, SCHEMA), "sparse")
    assert frame.columns == ["id", "features"]
    expected = matrix(in_spark, model)
    found = frame.toArrow().to_pandas().sort_values("id")
    assert_equal(from_sparse(found, model), expected, model)
    assert_equal(from_sparse(in_duckdb(model, rows, "sparse"), model), expected, model)
    columns = {n: pd.Series([r[i] for r in rows], dtype=object) for i, n in enumerate(ARROW.names)}
    starts, indices, values, width = model.sparse_numpy(columns)
    assert width == len(model.outputs())
    entries = [
        {"indices": indices[a:b], "values": values[a:b]} for a, b in itertools.pairwise(starts)
    ]
    assert_equal(from_sparse(pd.DataFrame({"features": entries}), model), expected, model)


def from_slots(frame: pd.DataFrame, model: FeatureModel) -> np.ndarray[Any, Any]:
    """The matrix in the order of the output columns, out of the columns of slots."""
    slots = [output.name for output in model.slots()]
    full = np.zeros((len(frame), len(slots)))
    for fitted in model.features:
        if fitted.form == "number":
            for output in fitted.outputs():
                full[:, slots.index(output.name)] = frame[output.name].to_numpy(np.float64)
            continue
        for row, found in enumerate(frame[fitted.name]):
            ones = found if fitted.is_list else [] if pd.isna(found) else [found]
            assert (np.diff(ones) > 0).all()
            full[row, [int(one) for one in ones]] = 1
    order = [slots.index(output.name) for output in model.outputs()]
    return full[:, order]


def test_the_slots_layout_holds_the_same(
    spark: SparkSession, rows: list[tuple[Any, ...]], model: FeatureModel, in_spark: pd.DataFrame
) -> None:
    frame = model.transform(spark.createDataFrame(rows, SCHEMA), "slots")
    assert {"id", "c_many", "l_own", "n_clip", "n_number_null"} <= set(frame.columns)
    kinds = dict(frame.dtypes)
    assert (kinds["c_many"], kinds["l_own"]) == ("int", "array<int>")
    expected = matrix(in_spark, model)
    found = frame.toArrow().to_pandas().sort_values("id")
    assert_equal(from_slots(found, model), expected, model)
    in_sql = in_duckdb(model, rows, "slots")
    assert list(in_sql.columns) == frame.columns
    assert_equal(from_slots(in_sql, model), expected, model)
    columns = {n: pd.Series([r[i] for r in rows], dtype=object) for i, n in enumerate(ARROW.names)}
    in_pandas = model.transform_pandas(pd.DataFrame(columns), "slots")
    assert list(in_pandas.columns) == frame.columns
    assert_equal(from_slots(in_pandas, model), expected, model)
    none = model.transform_pandas(pd.DataFrame(columns)[:0], "slots")
    assert (list(none.columns), len(none)) == (frame.columns, 0)


def test_the_cases_reach_what_they_are_for(
    rows: list[tuple[Any, ...]], model: FeatureModel, in_spark: pd.DataFrame
) -> None:
    """Every column is something else than zero somewhere, but for a third boolean."""
    values = matrix(in_spark, model)
    logging.getLogger(__name__).info("%d rows x %d columns", *values.shape)
    assert len(rows) == CASES
    names = np.array([output.name for output in model.outputs()])
    idle = names[(np.nan_to_num(values) == 0).all(axis=0)]
    assert set(idle) <= {"b_own_other", "b_share_other", "b_mode_other"}
    numbers = [row[5] for row in rows if row[5] is not None]
    assert np.isnan(numbers).any()
    assert np.isinf(numbers).any()


def test_no_name_stands_in_the_way_of_what_a_layout_prepares(
    spark: SparkSession, rows: list[tuple[Any, ...]]
) -> None:
    names = ("c_slot", "in_c_slot", "values", "indices", "features")
    features = {name: OneHot(column="b") for name in names}
    features |= {"c": OneHot(max_categories=40), "in_c": Number(column="i")}
    frame = spark.createDataFrame(rows[:80], SCHEMA)
    model = fit_features(frame, FeatureSet(name="t", keys=("id",), features=features))
    expected = matrix(model.transform(frame).toArrow().to_pandas().sort_values("id"), model)
    assert np.array_equal(matrix(in_duckdb(model, rows[:80]), model), expected, equal_nan=True)
    for layout, read in (("sparse", from_sparse), ("slots", from_slots)):
        found = model.transform(frame, layout).toArrow().to_pandas().sort_values("id")
        for each in (found, in_duckdb(model, rows[:80], layout)):
            assert np.array_equal(read(each, model), expected, equal_nan=True)
