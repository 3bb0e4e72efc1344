"""The point-in-time join, by known answers and against plain Python."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import strategies as st
from pyspark.sql import SparkSession
from tests.support.cases import many
from tests.support.executions import collected, executions

from matchlake.errors import SchemaError
from matchlake.features.params import PointInTimeJoin
from matchlake.features.point_in_time import point_in_time_join

START = datetime(2024, 1, 1)
LABELS = "label_id INT, k STRING, at TIMESTAMP"
HISTORY = "k STRING, since TIMESTAMP, known TIMESTAMP, v INT"
ON = PointInTimeJoin(
    keys=("k",),
    label_timestamp="at",
    event_time="since",
    created_at="known",
    lookback_window_seconds=5,
)
MOMENT = st.none() | st.integers(0, 12)
KEY = st.sampled_from(["a", "b", None])


def moment(seconds: int | None) -> datetime | None:
    return None if seconds is None else START + timedelta(seconds=seconds)


def expected(labels: list[Any], history: list[Any]) -> list[tuple[Any, ...]]:
    """For each label, by looking at every row of the history."""
    found = []
    for number, key, at in labels:
        usable = [
            (since, max(since, known), value)
            for k, since, known, value in history
            if None not in (k, since, known, key, at) and k == key and max(since, known) <= at
        ]
        best = max(usable, default=None)
        if best is None or best[0] < at - 5:
            found.append((number, key, moment(at), None, None, None))
            continue
        rows = [h for h in history if h[0] == key and h[1] == best[0] and h[3] == best[2]]
        known = max(h[2] for h in rows if h[2] is not None and max(h[1], h[2]) == best[1])
        found.append((number, key, moment(at), moment(best[0]), moment(known), best[2]))
    return sorted(found, key=repr)


def test_point_in_time_join_equals_plain_python(spark: SparkSession) -> None:
    labels = [(i, *row) for i, row in enumerate(many(st.tuples(KEY, MOMENT), 300))]
    history = many(st.tuples(KEY, MOMENT, MOMENT, st.integers(0, 3)), 40)
    found = point_in_time_join(
        spark.createDataFrame([(i, k, moment(at)) for i, k, at in labels], LABELS),
        spark.createDataFrame([(k, moment(s), moment(n), v) for k, s, n, v in history], HISTORY),
        ON,
    )
    assert found.columns == ["label_id", "k", "at", "since", "known", "v"]
    assert collected(found) == expected(labels, history)


def test_point_in_time_join_later_knowledge_does_not_leak(spark: SparkSession) -> None:
    history = [("a", 1, 1, 10), ("a", 2, 8, 20), ("a", 9, 3, 30)]
    labels = [(0, "a", 4), (1, "a", 8), (2, "a", 9), (3, "a", 20)]
    for on, values in [
        (ON, {0: 10, 1: None, 2: 30, 3: None}),
        (ON.model_copy(update={"lookback_window_seconds": None}), {0: 10, 1: 20, 2: 30, 3: 30}),
        (ON.model_copy(update={"created_at": None}), {0: 20, 1: None, 2: 30, 3: None}),
    ]:
        joined = point_in_time_join(
            spark.createDataFrame([(i, k, moment(at)) for i, k, at in labels], LABELS),
            spark.createDataFrame(
                [(k, moment(s), moment(n), v) for k, s, n, v in history], HISTORY
            ),
            on,
        )
        assert {row.label_id: row.v for row in joined.collect()} == values


def test_point_in_time_join_wrong_columns_raise(spark: SparkSession) -> None:
    labels = spark.createDataFrame([], LABELS)
    history = spark.createDataFrame([], HISTORY)
    with pytest.raises(SchemaError, match=r"in the labels: when\. Available: label_id, k, at"):
        point_in_time_join(labels, history, ON.model_copy(update={"label_timestamp": "when"}))
    with pytest.raises(SchemaError, match="in the history: learned"):
        point_in_time_join(labels, history, ON.model_copy(update={"created_at": "learned"}))
    with pytest.raises(SchemaError, match="Both the labels and the history have at"):
        point_in_time_join(labels, history.withColumnRenamed("v", "at"), ON)


@pytest.mark.local_only
def test_point_in_time_join_starts_no_execution(spark: SparkSession) -> None:
    labels, history = spark.createDataFrame([], LABELS), spark.createDataFrame([], HISTORY)
    assert executions(spark, lambda: point_in_time_join(labels, history, ON)) == 0
