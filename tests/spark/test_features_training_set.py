"""Training sets built again from their record, and models for each category against one."""

from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from pyspark.sql import SparkSession
from tests.conftest import KIND
from tests.support.executions import collected, executions
from tests.support.lakes import forget_tables

from matchlake.errors import ParameterError, ReconciliationError
from matchlake.features.categories import OneHot
from matchlake.features.feature_set import FeatureSet
from matchlake.features.fit import fit_features
from matchlake.features.scaling import Number
from matchlake.features.split import Predictor, compare_split, split_by
from matchlake.io.delta import Lakehouse
from matchlake.models.training_set import (
    History,
    TrainingSet,
    digest,
    rebuild_training_set,
    record_training_set,
)
from matchlake.schemas import Column, TableSpec

START = datetime(2024, 1, 1)
LABELS = TableSpec(
    "silver.labels",
    "",
    (Column("k", "STRING", ""), Column("at", "TIMESTAMP", ""), Column("y", "INT", "")),
)
HISTORY = TableSpec(
    "silver.history",
    "",
    (Column("k", "STRING", ""), Column("since", "TIMESTAMP", ""), Column("v", "DOUBLE", "")),
)


def write(lake: Lakehouse, spec: TableSpec, rows: list[tuple[object, ...]]) -> None:
    lake.append(lake.spark.createDataFrame(rows, spec.struct()), spec)


def test_a_record_builds_the_same_rows_after_the_tables_went_on(
    spark: SparkSession, tmp_path: Path
) -> None:
    forget_tables(spark)
    lake = Lakehouse(spark, folder=str(tmp_path))
    times = [START + timedelta(hours=hour) for hour in range(6)]
    write(lake, LABELS, [("a", times[2], 1), ("a", times[4], 0), ("b", times[2], 1)])
    write(lake, HISTORY, [("a", times[1], 0.1), ("a", times[3], 0.3)])
    join = History(table=HISTORY.name, keys=("k",), label_time="at", event_time="since")
    wanted = TrainingSet(labels=LABELS.name, histories=(join,))
    frame, record = record_training_set(lake, wanted)
    built = collected(frame)
    assert [row[2:] for row in built] == [(1, times[1], 0.1), (0, times[3], 0.3), (1, None, None)]
    assert record.inputs() == {LABELS.name: 1, HISTORY.name: 1}
    write(lake, HISTORY, [("b", times[0], 9.0), ("a", times[2], 9.0)])
    write(lake, LABELS, [("b", times[5], 1)])
    again = TrainingSet.model_validate_json(record.model_dump_json())
    assert collected(rebuild_training_set(lake, again)) == built
    assert record_training_set(lake, wanted)[1].digest != record.digest
    with pytest.raises(ReconciliationError, match="has digest 3-"):
        rebuild_training_set(lake, record.model_copy(update={"digest": "3-0"}))


def test_a_digest_is_of_the_rows_and_not_of_their_order(spark: SparkSession) -> None:
    rows = [(1, "a"), (2, "b"), (2, "b"), (3, None)]
    found = {digest(spark.createDataFrame(r, "i INT, s STRING")) for r in (rows, rows[::-1])}
    assert len(found) == 1
    for other in (rows[1:], [*rows[:3], (3, "")], [*rows, rows[0]]):
        assert digest(spark.createDataFrame(other, "i INT, s STRING")) not in found


def least_squares(x: pd.DataFrame, y: pd.Series) -> Predictor:  # type: ignore[type-arg]
    weights = np.linalg.lstsq(np.column_stack([x, np.ones(len(x))]), y, rcond=None)[0]

    def predict(new: pd.DataFrame) -> npt.NDArray[np.float64]:
        return np.column_stack([new, np.ones(len(new))]) @ weights

    return predict


def test_a_model_for_each_category_is_compared_with_one_for_all(spark: SparkSession) -> None:
    """Slopes differ by city, so that a model for each is exact and one for all cannot be."""
    slopes = {"a": 1.0, "b": -2.0, "c": 0.5}
    rows = [(c, float(x), slope * x + 3) for c, slope in slopes.items() for x in range(12)]
    train = spark.createDataFrame(rows, "city STRING, x DOUBLE, y DOUBLE")
    test = spark.createDataFrame([*rows, ("d", 1.0, 1.0)], "city STRING, x DOUBLE, y DOUBLE")
    features = FeatureSet(name="t", features={"city": OneHot(), "x": Number()})
    model = fit_features(train, features)
    found = compare_split(train, test, (model, "city"), "y", least_squares).toPandas()
    by = found.set_index(["approach", "category"])
    assert by.loc["separate"]["rows"].to_dict() == {"a": 12, "b": 12, "c": 12, "d": 1}
    assert by.loc["separate"]["squared_error"][["a", "b", "c"]].max() < 1e-20
    assert np.isnan(by.loc[("separate", "d"), "squared_error"])
    assert (by.loc["one"]["squared_error"] > 0.1).all()
    frames = split_by(train, model, "city")
    assert {name: frame.count() for name, frame in frames.items()} == {"a": 12, "b": 12, "c": 12}
    with pytest.raises(ParameterError, match="'x' is no one-hot feature of t: there is city"):
        split_by(train, model, "x")
    if KIND == "classic":
        assert executions(spark, lambda: split_by(train, model, "city")) == 0
