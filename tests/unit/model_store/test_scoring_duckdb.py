"""The query of a model in duckdb, an engine that is not Spark, gives the scores of NumPy."""

from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from tests.support.scoring_cases import as_columns, hostile_rows, random_model, score_tolerance

ROWS = hostile_rows(200, seed=3)
COLUMNS = as_columns(ROWS)
ARROW = pa.schema(
    [
        ("id", pa.int32()), ("n", pa.float64()), ("p", pa.float64()), ("f", pa.float32()),
        ("i", pa.int64()), ("m", pa.decimal128(20, 4)), ("b", pa.bool_()), ("c", pa.string()),
        ("d", pa.date32()), ("l", pa.list_(pa.string())), ("k", pa.list_(pa.int32())),
    ]
)  # fmt: skip


@pytest.fixture(scope="module")
def engine() -> duckdb.DuckDBPyConnection:
    given = pa.Table.from_pylist([dict(zip(ARROW.names, row, strict=True)) for row in ROWS], ARROW)
    connection = duckdb.connect()
    connection.register("given", given)
    return connection


@pytest.mark.parametrize("kind", ["linear", "trees", "centroids"])
@pytest.mark.parametrize("seed", range(4))
def test_query_equals_numpy(engine: duckdb.DuckDBPyConnection, kind: str, seed: int) -> None:
    model, _ = random_model(kind, COLUMNS, np.random.default_rng(seed))
    found = engine.sql(model.to_sql("given", "duckdb")).to_arrow_table().sort_by("id").to_pydict()
    expected = model.score_numpy(COLUMNS)
    tolerance = score_tolerance(model, model.features.transform_numpy(COLUMNS))
    assert list(found) == ["id", *expected]
    for row in range(len(ROWS)):
        for name, values in expected.items():
            assert_equal(found[name][row], values[row], tolerance[row])


def assert_equal(found: Any, expected: Any, limit: float) -> None:
    if isinstance(expected, np.ndarray):
        if np.isnan(expected).any():
            assert found is None
        else:
            np.testing.assert_allclose(found, expected, rtol=1e-13, atol=limit)
    elif isinstance(expected, float) and np.isfinite(expected):
        assert abs(found - expected) <= limit * max(1.0, abs(expected))
    elif isinstance(expected, float):
        assert found == expected or (found is None and np.isnan(expected))
    else:
        assert found == (None if isinstance(expected, np.int32) and expected < 0 else expected)
