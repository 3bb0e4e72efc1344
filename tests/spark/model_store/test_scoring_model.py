"""Generated models give the same scores in Spark, by columns, by SQL and by Arrow, as in NumPy."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from pyspark.sql import DataFrame, SparkSession
from tests.support.executions import executions
from tests.support.scoring_cases import (
    SCHEMA,
    as_columns,
    hostile_rows,
    random_model,
    score_tolerance,
)

from matchlake.errors import ParameterError
from matchlake.formulas.heads import TreesHead
from matchlake.model_store.scoring_model import ScoringModel

KINDS = ("linear", "trees", "centroids")
Rows = list[tuple[Any, ...]]


@pytest.fixture(scope="module")
def rows() -> Rows:
    return hostile_rows(400, seed=1)


@pytest.fixture(scope="module")
def frame(spark: SparkSession, rows: Rows) -> DataFrame:
    return spark.createDataFrame(rows, SCHEMA).coalesce(1)


def models(rows: Rows, seeds: range) -> list[ScoringModel]:
    columns = as_columns(rows)
    return [
        random_model(kind, columns, np.random.default_rng(seed))[0]
        for seed in seeds
        for kind in KINDS
    ]


def in_one_query(spark: SparkSession, cases: list[ScoringModel], relation: str) -> list[Any]:
    """The rows of all models, by one query: number of the case, id, and outputs."""
    parts = []
    for number, model in enumerate(cases):
        names = [output.name for output in model.outputs()]
        label = "prediction" if model.task == "classification" else "NULL"
        value = "NULL" if model.task == "classification" else "prediction"
        values = names[1] if len(names) > 1 else "NULL"
        parts.append(
            f"SELECT {number} AS n, id, CAST({label} AS STRING) AS label, CAST({value} AS DOUBLE)"
            f" AS value, CAST({values} AS ARRAY<DOUBLE>) AS listed FROM ({model.to_sql(relation)})"
        )
    found = spark.sql(" UNION ALL ".join(parts)).toArrow().to_pylist()
    return sorted(found, key=lambda row: (row["n"], row["id"]))


def assert_equal(found: list[Any], model: ScoringModel, rows: Rows) -> None:
    columns = as_columns(rows)
    expected = model.score_numpy(columns)
    tolerance = score_tolerance(model, model.features.transform_numpy(columns))
    lists = expected.get("probabilities", expected.get("distances"))
    for number, row in enumerate(found):
        prediction, limit = expected["prediction"][number], tolerance[number]
        if lists is not None and np.isnan(lists[number]).any():
            assert row["label"] is row["listed"] is row["value"] is None
            continue
        if model.task == "classification":
            ordered = np.sort(lists[number])
            assert row["label"] == prediction or ordered[-1] - ordered[-2] <= 1e-12
        elif np.isfinite(prediction):
            assert abs(row["value"] - prediction) <= limit * max(1.0, abs(prediction))
        else:
            assert row["value"] == prediction or (row["value"] is None and np.isnan(prediction))
        if lists is not None:
            np.testing.assert_allclose(row["listed"], lists[number], rtol=1e-14, atol=limit)


def assert_all_equal(spark: SparkSession, frame: DataFrame, rows: Rows, seeds: range) -> None:
    cases = models(rows, seeds)
    frame.createOrReplaceTempView("scored_rows")
    found = in_one_query(spark, cases, "scored_rows")
    assert len(found) == len(cases) * len(rows)
    for number, model in enumerate(cases):
        assert_equal(found[number * len(rows) : (number + 1) * len(rows)], model, rows)


def test_sql_of_generated_models_equals_numpy(
    spark: SparkSession, frame: DataFrame, rows: Rows
) -> None:
    assert_all_equal(spark, frame, rows, range(2))


@pytest.mark.soak
@pytest.mark.parametrize("first", range(100, 300, 5))
def test_sql_of_many_generated_models_equals_numpy(spark: SparkSession, first: int) -> None:
    many = hostile_rows(1000, seed=first)
    assert_all_equal(spark, spark.createDataFrame(many, SCHEMA), many, range(first, first + 5))


@pytest.mark.parametrize("kind", KINDS)
def test_transform_is_lazy_and_equals_its_query(
    spark: SparkSession, frame: DataFrame, rows: Rows, kind: str
) -> None:
    model, _ = random_model(kind, as_columns(rows), np.random.default_rng(9))
    made: list[DataFrame] = []
    assert executions(spark, lambda: made.append(model.transform(frame))) == 0
    frame.createOrReplaceTempView("scored_rows")
    query = spark.sql(model.to_sql("scored_rows"))
    assert made[0].schema == query.schema
    assert made[0].toArrow().equals(query.toArrow())


@pytest.mark.parametrize("kind", ["trees", "centroids"])
def test_arrow_workers_equal_sql(
    frame: DataFrame, rows: Rows, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, _ = random_model(kind, as_columns(rows), np.random.default_rng(11))
    by_sql = model.transform(frame)
    monkeypatch.setattr(type(model.head), "sql_limit", lambda _self: "it is large")
    by_arrow = model.transform(frame)
    assert by_arrow.schema.simpleString() == by_sql.schema.simpleString()
    found, expected = by_arrow.toArrow().to_pylist(), by_sql.toArrow().to_pylist()
    for one, other in zip(found, expected, strict=True):
        assert one["id"] == other["id"]
        for output in model.outputs():
            value, known = one[output.name], other[output.name]
            if isinstance(known, list):
                np.testing.assert_allclose(value, known, rtol=1e-14)
            elif isinstance(known, float) and np.isfinite(known):
                assert value == pytest.approx(known, rel=1e-13)
            else:
                assert value == known
    with pytest.raises(ParameterError, match=r"has no SQL: it is large\. Export"):
        model.to_sql("t")


def test_large_trees_score_through_arrow(frame: DataFrame, rows: Rows) -> None:
    model, _ = random_model("trees", as_columns(rows), np.random.default_rng(12))
    head = model.head
    assert isinstance(head, TreesHead)
    large = model.model_copy(update={"head": _repeated(head, 400)})
    assert large.head.sql_limit() is not None
    found = large.transform(frame).toPandas().sort_values("id")
    expected = large.score_numpy(as_columns(rows))
    np.testing.assert_array_equal(found["prediction"].isna(), pd.isna(expected["prediction"]))
    known = found["prediction"].notna().to_numpy()
    if model.task == "classification":
        assert found["prediction"][known].tolist() == expected["prediction"][known].tolist()
    else:
        np.testing.assert_allclose(found["prediction"][known], expected["prediction"][known], 1e-13)


def _repeated(head: TreesHead, times: int) -> TreesHead:
    """The trees of a head many times over."""
    nodes, leaves = head.size(), len(head.values) // head.width
    lists: dict[str, list[Any]] = {}
    for name in ("column", "threshold", "missing_left", "values", "targets"):
        lists[name] = list(getattr(head, name)) * times
    inner = [column >= 0 for column in head.column]
    for name in ("left", "right", "roots"):
        values = getattr(head, name)
        lists[name] = []
        for copy in range(times):
            for at, value in enumerate(values):
                is_node = name == "roots" or inner[at]
                is_leaf = name == "left" and not is_node
                shift = nodes * copy if is_node else leaves * copy if is_leaf else 0
                lists[name].append(value + shift)
    changed = {name: tuple(values) for name, values in lists.items()}
    return TreesHead.model_validate(head.model_dump() | changed)
