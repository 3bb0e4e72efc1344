"""Training sets built again from their record, and models for each category against one."""

import runpy
from datetime import datetime, timedelta
from pathlib import Path

import mlflow
import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
import yaml
from pyspark.sql import DataFrame, SparkSession
from tests.conftest import KIND
from tests.support.executions import collected, executions
from tests.support.lakes import forget_tables
from tests.support.saved_models import tracker_in
from tests.support.sources import ROOT

from matchlake.config import load_config
from matchlake.errors import ModelError, ParameterError, ReconciliationError
from matchlake.features.categories import OneHot
from matchlake.features.feature_set import FeatureSet
from matchlake.features.fit import fit_features
from matchlake.features.per_category import Predictor, compare_split, split_by
from matchlake.features.scalers import Number
from matchlake.io.delta import Lakehouse
from matchlake.io.delta_properties import read_properties
from matchlake.io.secrets import EnvironmentSecrets
from matchlake.runtime import Runtime
from matchlake.schemas import Column, TableSpec
from matchlake.training.training_set import (
    History,
    TrainingSet,
    digest,
    read_training_set,
    rebuild_training_set,
)

JOB = runpy.run_path(str(ROOT / "jobs" / "build_training_sets.py"))["run"]
START = datetime(2024, 1, 1)
LABELS = TableSpec(
    "silver.labels",
    "",
    (Column("k", "STRING", ""), Column("at", "TIMESTAMP", ""), Column("y", "INT", "")),
    user_columns=(),
)
HISTORY = TableSpec(
    "silver.history",
    "",
    (Column("k", "STRING", ""), Column("since", "TIMESTAMP", ""), Column("v", "DOUBLE", "")),
    user_columns=(),
)


def write(lake: Lakehouse, spec: TableSpec, rows: list[tuple[object, ...]]) -> None:
    lake.append(lake.frame(rows, spec), spec)


def recorded(lake: Lakehouse, wanted: TrainingSet) -> tuple[DataFrame, TrainingSet]:
    """The training set and its record, as the job makes them."""
    pinned = wanted.pinned(lake)
    frame = read_training_set(lake, pinned)
    return frame, pinned.model_copy(update={"digest": digest(frame)})


@pytest.mark.soak
def test_a_record_builds_the_same_rows_after_the_tables_went_on(
    spark: SparkSession, tmp_path: Path
) -> None:
    forget_tables(spark)
    lake = Lakehouse(spark, folder=str(tmp_path))
    times = [START + timedelta(hours=hour) for hour in range(6)]
    write(lake, LABELS, [("a", times[2], 1), ("a", times[4], 0), ("b", times[2], 1)])
    write(lake, HISTORY, [("a", times[1], 0.1), ("a", times[3], 0.3)])
    join = History(table=HISTORY.name, keys=("k",), label_timestamp="at", event_time="since")
    wanted = TrainingSet(labels=LABELS.name, history_tables=(join,))
    frame, record = recorded(lake, wanted)
    built = collected(frame)
    assert [row[2:] for row in built] == [(1, times[1], 0.1), (0, times[3], 0.3), (1, None, None)]
    assert record.inputs() == {(LABELS.name, 1), (HISTORY.name, 1)}
    write(lake, HISTORY, [("b", times[0], 9.0), ("a", times[2], 9.0)])
    write(lake, LABELS, [("b", times[5], 1)])
    again = TrainingSet.model_validate_json(record.model_dump_json())
    assert collected(rebuild_training_set(lake, again)) == built
    assert recorded(lake, wanted)[1].digest != record.digest
    with pytest.raises(ReconciliationError, match="has the digest 3-"):
        rebuild_training_set(lake, record.model_copy(update={"digest": "3-0"}))


def test_a_digest_is_of_the_rows_and_not_of_their_order(spark: SparkSession) -> None:
    rows = [(1, "a"), (2, "b"), (2, "b"), (3, None)]
    found = {digest(spark.createDataFrame(r, "i INT, s STRING")) for r in (rows, rows[::-1])}
    assert len(found) == 1
    for other in (rows[1:], [*rows[:3], (3, "")], [*rows, rows[0]]):
        assert digest(spark.createDataFrame(other, "i INT, s STRING")) not in found


def test_a_digest_depends_on_the_position_of_nulls(spark: SparkSession) -> None:
    """A hash of columns alone passes over nulls, so that values could change places with them."""
    rows = [(1, None, [1, None]), (None, 1, [1, None]), (1, None, [None, 1]), (1, None, [1])]
    schema = "a INT, b INT, l ARRAY<INT>"
    assert len({digest(spark.createDataFrame([row], schema)) for row in rows}) == len(rows)


@pytest.mark.soak
def test_the_job_pins_versions_in_its_run_and_builds_a_run_again(
    spark: SparkSession, tmp_path: Path
) -> None:
    forget_tables(spark)
    lake = Lakehouse(spark, folder=str(tmp_path / "lake" / "warehouse"))
    times = [START + timedelta(hours=hour) for hour in range(6)]
    write(lake, LABELS, [("a", times[2], 1), ("b", times[4], 0)])
    write(lake, HISTORY, [("a", times[1], 0.1), ("b", times[5], 0.3)])
    join = {"table": HISTORY.name, "keys": ["k"], "label_timestamp": "at", "event_time": "since"}
    both = [join, join | {"prefix": "day_", "lookback_window_seconds": 1800}]
    rows = {"labels": LABELS.name, "history_tables": both}
    declared = {"table": "gold.labelled", "comment": "Labels with values.", "rows": rows}

    def build(**more: str) -> list[tuple[object, ...]]:
        chosen = yaml.safe_dump({"labelled": declared | more}, default_flow_style=True)
        config = load_config("demo", [f"lakehouse={tmp_path}/lake", f"training_sets={chosen}"])
        JOB(Runtime(spark, config, lake, EnvironmentSecrets(), tracker_in(tmp_path)))
        return collected(lake.read("gold.labelled"))

    first = build()
    assert first == [
        ("a", times[2], 1, times[1], 0.1, None, None),
        ("b", times[4], 0, None, None, None, None),
    ]
    assert lake.read("gold.labelled").columns[-2:] == ["day_since", "day_v"]
    run = mlflow.search_runs(search_all_experiments=True).iloc[0]
    assert run[f"params.{HISTORY.name}.version"] == run[f"params.{LABELS.name}.version"] == "1"
    assert read_properties(lake, "gold.labelled")["matchlake.run"] == run["run_id"]
    write(lake, HISTORY, [("b", times[3], 9.0)])
    assert build() != first
    assert build(run=run["run_id"]) == first
    with pytest.raises(ModelError, match=r"Run 0123 at .* has no training_set\.json"):
        build(run="0123")


@pytest.mark.soak
def test_a_model_for_each_category_is_compared_with_one_for_all(spark: SparkSession) -> None:
    """Slopes differ by city, so that a model for each is exact and one for all cannot be."""

    # In here, so that it travels whole: workers of Spark Connect know no module `tests`.
    def least_squares(x: pd.DataFrame, y: pd.Series) -> Predictor:  # type: ignore[type-arg]
        weights = np.linalg.lstsq(np.column_stack([x, np.ones(len(x))]), y, rcond=None)[0]

        def predict(new: pd.DataFrame) -> npt.NDArray[np.float64]:
            return np.column_stack([new, np.ones(len(new))]) @ weights

        return predict

    slopes = {"a": 1.0, "b": -2.0, "c": 0.5}
    rows = [(c, float(x), slope * x + 3) for c, slope in slopes.items() for x in range(12)]
    train = spark.createDataFrame(rows, "city STRING, x DOUBLE, y DOUBLE")
    test = spark.createDataFrame([*rows, ("d", 1.0, 1.0)], "city STRING, x DOUBLE, y DOUBLE")
    features = FeatureSet(name="t", features={"city": OneHot(), "x": Number()})
    model = fit_features(train, features)
    found = compare_split(train, test, (model, "city"), "y", least_squares)
    by = {row.category: row for row in found.collect()}
    assert {n: row.rows for n, row in by.items()} == {"a": 12, "b": 12, "c": 12, "d": 1, None: 36}
    assert max(by[name].separate_error for name in ("a", "b", "c", None)) < 1e-20
    assert by["d"].separate_error is None
    assert min(row.one_error for row in by.values()) > 0.1
    assert by[None].one_error == pytest.approx(sum(by[n].one_error for n in "abc") / 3)
    frames = split_by(train, model, "city")
    assert {name: frame.count() for name, frame in frames.items()} == {"a": 12, "b": 12, "c": 12}
    with pytest.raises(ParameterError, match=r"'x' is not a one-hot feature of t.*: city"):
        split_by(train, model, "x")
    if KIND == "classic":
        assert executions(spark, lambda: split_by(train, model, "city")) == 0
