"""The jobs train_model and score_model: a class, a number and clusters of one small table."""

import json
import logging
import re
import runpy
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
from pyspark.sql import SparkSession
from sklearn.metrics import log_loss
from tests.support.lakes import forget_tables, lake_runtime
from tests.support.sources import ROOT

from matchlake.errors import FitError
from matchlake.io.salt import Salt
from matchlake.io.task_values import collected_task_values
from matchlake.lakehouse.registered_models import registered_model
from matchlake.lakehouse.user_erasure import remember_user
from matchlake.model_store.scoring_folder import load_scoring_model
from matchlake.monitoring.params import MonitorParams
from matchlake.runtime import Runtime
from matchlake.schemas import Column, TableSpec
from matchlake.training.history import ModelHistory

TRAIN = runpy.run_path(str(ROOT / "jobs" / "train_model.py"))["run"]
SCORE = runpy.run_path(str(ROOT / "jobs" / "score_model.py"))["run"]
MONITOR = runpy.run_path(str(ROOT / "jobs" / "monitor_models.py"))["run"]
ROWS, UNLABELLED = 240, 12
SHARED: dict[str, Any] = {"rows": "silver.visits", "keys": ["user_id"], "comment": "Scores."}
SPENT = {"kind": "z_score", "handle_null": "error"}
CITY = {"kind": "one_hot", "handle_null": "indicator"}
MODELS: dict[str, dict[str, Any]] = {
    "buyers": {
        **SHARED,
        "label": "bought",
        "task": "classification",
        "features": {"spent": SPENT, "city": CITY},
        "trainer": {"kind": "sklearn", "estimator": "LogisticRegression"},
        "balance": {"kind": "smote", "neighbors": 3},
        "table": "gold.buyers",
    },
    "spending": {
        **SHARED,
        "label": "spent",
        "task": "regression",
        "split": {"kind": "time", "column": "seen_at", "test_fraction": 0.25},
        "features": {"city": CITY, "age": {"kind": "min_max", "handle_null": "mean"}},
        "trainer": {"kind": "sklearn", "estimator": "Ridge"},
        "table": "gold.spending",
    },
    "segments": {
        **SHARED,
        "task": "clustering",
        "features": {"age": {"kind": "z_score", "handle_null": "mean"}},
        "trainer": {"kind": "kmeans", "sweep": {"k": {"low": 2, "high": 4}}},
        "table": "gold.segments",
    },
}


def settings(models: dict[str, Any]) -> list[str]:
    return [f"models={json.dumps(models)}"]


def visits(spark: SparkSession) -> tuple[Any, TableSpec]:
    """Users of three cities. u7 has no `spent`; it and the last ones have no label."""
    frame = spark.sql(f"""
        SELECT concat('u', id) AS user_id,
               element_at(array('Rome', 'Oslo', 'Bern'), 1 + CAST(id % 3 AS INT)) AS city,
               CAST(18 + id % 50 AS INT) AS age,
               IF(id = 7, NULL, 10D * (id % 3) + (id * 37 % 11)) AS spent,
               IF(id = 7 OR id >= {ROWS - UNLABELLED}, NULL,
                  IF((id * 37 % 11) + id % 3 > 6, 'yes', 'no')) AS bought,
               timestamp_seconds(1709208000 + id * 60) AS seen_at
        FROM range({ROWS})
    """)
    columns = tuple(Column(f.name, f.dataType.simpleString(), f.name) for f in frame.schema)
    return frame, TableSpec("silver.visits", "Visits.", columns, user_columns=("user_id",))


@pytest.fixture(scope="module")
def at(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runtime]:
    """All models trained; u3 erased; then all tables scored."""
    forget_tables(spark)
    folder = tmp_path_factory.mktemp("models")
    made = lake_runtime(spark, folder, *settings(MODELS))
    runtime = replace(made, lakehouse=replace(made.lakehouse, salt=lambda: Salt(b"some salt")))
    runtime.lakehouse.replace(*visits(spark))
    TRAIN(runtime)
    remember_user(runtime.lakehouse, Salt(b"some salt"), "u3")
    SCORE(runtime)
    yield runtime
    forget_tables(spark)


def champion(at: Runtime, name: str) -> Any:
    return registered_model(at.config, at.tracker, name).tracker.require_champion()


@pytest.mark.parametrize("name", MODELS)
def test_a_first_model_becomes_champion_with_a_card_and_plots(at: Runtime, name: str) -> None:
    version = champion(at, name)
    assert version.tags["decision"] == "the first model: there was no champion"
    run = mlflow.MlflowClient().get_run(version.run_id)
    table_version = at.lakehouse.version("silver.visits")
    assert run.data.params["silver.visits.version"] == str(table_version)
    files = {a.path for a in mlflow.artifacts.list_artifacts(run_id=version.run_id)}
    plots = {
        "buyers": {
            *("roc.png", "precision_recall.png", "calibration.png", "confusion.png"),
            "importance.png",
        },
        "spending": {"residuals.png", "importance.png", "importance.json"},
        "segments": {"clusters.png", "elbow.png", "silhouettes.png", "sweep.json"},
    }
    assert {"model_card.md", *plots[name]} <= files
    card = mlflow.artifacts.load_text(f"runs:/{version.run_id}/model_card.md")
    assert f"`silver.visits`, Delta version {table_version}" in card
    (change,) = ModelHistory(at.lakehouse, name).changes()
    assert (change.alias, change.version, change.action, change.state) == (
        *("champion", version.version),
        *("train", "done"),
    )
    assert change.tables == {f"gold.{name}": at.lakehouse.version(f"gold.{name}")}


def test_the_figures_are_those_of_the_logged_model_on_unseen_rows(at: Runtime) -> None:
    tracker = registered_model(at.config, at.tracker, "buyers").tracker
    version = tracker.require_champion()
    with tracker.files(version, "artifacts/scoring") as folder:
        model = load_scoring_model(folder)
    known = at.lakehouse.read("silver.visits").where("bought IS NOT NULL AND spent IS NOT NULL")
    test = known.where("pmod(xxhash64(0, user_id), 4294967296) < 858993459").toPandas()
    assert model.features.rows == ROWS - UNLABELLED - len(test) - 1, "u7 has no `spent`"
    chances = model.score_numpy({name: test[name] for name in ("spent", "city")})["probabilities"]
    figures = tracker.metrics(version)
    expected = log_loss(test["bought"], chances, labels=["no", "yes"])
    assert figures["log_loss"] == pytest.approx(expected, rel=1e-12)
    assert figures["log_loss"] < figures["constant/log_loss"]


def test_synthetic_rows_are_in_the_training_part_only(at: Runtime) -> None:
    tracker = registered_model(at.config, at.tracker, "buyers").tracker
    figures = tracker.metrics(tracker.require_champion())
    rows = {name: int(figures[f"rows/{name}"]) for name in ("yes", "no")}
    known = at.lakehouse.read("silver.visits").where("bought IS NOT NULL AND spent IS NOT NULL")
    assert sum(rows.values()) + figures["test_rows"] == known.count()
    rare, common = sorted(rows, key=lambda name: rows[name])
    assert figures[f"synthetic_rows/{rare}"] == rows[common] - rows[rare]
    assert f"synthetic_rows/{common}" not in figures


def test_predictions_are_those_of_the_model_with_reasons_and_without_erased_users(
    at: Runtime,
) -> None:
    rows = {row.user_id: row for row in at.lakehouse.read("gold.buyers").collect()}
    assert len(rows) == ROWS - 1
    assert "u3" not in rows
    assert rows["u7"].prediction is None
    assert rows["u7"].refusal == "spent: column spent has a missing value"
    assert {row.refusal for name, row in rows.items() if name != "u7"} == {None}
    assert {row.model_version for row in rows.values()} == {"1"}
    others = [row for name, row in rows.items() if name != "u7"]
    assert all(abs(sum(row.probabilities) - 1) < 1e-12 for row in others)
    numbers = at.lakehouse.read("gold.spending").select("prediction").toPandas()["prediction"]
    assert np.isfinite(numbers).all()
    clusters = at.lakehouse.read("gold.segments").select("prediction").distinct().collect()
    assert {row.prediction for row in clusters} == set(range(len(clusters)))
    assert 2 <= len(clusters) <= 4


@pytest.mark.soak
def test_an_equal_model_stays_challenger_and_other_rows_cannot_be_compared(
    at: Runtime, caplog: pytest.LogCaptureFixture
) -> None:
    changed = {"buyers": MODELS["buyers"] | {"split": {"kind": "group", "column": "age"}}}
    for models, text in (
        ({"buyers": MODELS["buyers"]}, "buyers 2 is challenger: not better: log_loss"),
        (changed, "buyers 3 is challenger: champion 1 was evaluated on other rows"),
    ):
        config = lake_runtime(at.spark, Path(at.config.lakehouse or ""), *settings(models)).config
        with caplog.at_level(logging.INFO):
            TRAIN(replace(at, config=config))
        assert text in caplog.text
    assert champion(at, "buyers").version == "1"
    aliases = [c.alias for c in ModelHistory(at.lakehouse, "buyers").changes()]
    assert aliases == ["champion", "challenger", "challenger"]


BAD = {
    "no_label": ({"label": "nothing"}, "Missing column.*nothing.*Did you mean|Available"),
    "empty": ({"label": "empty"}, "has 240 rows, but none of them has a value of empty"),
    "one_class": ({"label": "same"}, "All training rows have the label 'x'"),
    "too_many": ({"max_rows": 10}, r"has 227 rows, but models.too_many.max_rows allows 10"),
    "fraction": ({"label": "spent"}, "the label spent is double, which is not a class"),
    "text": (
        {"label": "city", "task": "regression", "features": {"age": {"kind": "min_max"}}},
        "is string, but a regression needs a number",
    ),
    "unknown": (
        {"trainer": {"kind": "sklearn", "estimator": "SuperModel"}},
        "SuperModel",
    ),
}


@pytest.mark.soak
def test_each_bad_model_is_named_with_its_cause_and_a_leak_is_a_warning(
    at: Runtime, caplog: pytest.LogCaptureFixture
) -> None:
    base = MODELS["buyers"] | {"features": {"city": CITY}, "balance": None}
    leak = base | {"rows": "silver.leaky", "features": {"twice": {"kind": "number"}}}
    leak |= {"label": "bought", "gate": {"resamples": 20}}
    frame = at.lakehouse.read("silver.visits").selectExpr(
        "*", "CAST(NULL AS STRING) AS empty", "'x' AS same", "2 * int(bought = 'yes') AS twice"
    )
    columns = tuple(Column(f.name, f.dataType.simpleString(), f.name) for f in frame.schema)
    at.lakehouse.replace(frame, TableSpec("silver.leaky", "Leaky.", columns, user_columns=()))
    models = {n: base | {"rows": "silver.leaky", **change} for n, (change, _) in BAD.items()}
    models["leak"] = leak
    config = lake_runtime(at.spark, Path(at.config.lakehouse or ""), *settings(models)).config
    with pytest.raises(FitError) as told, caplog.at_level(logging.WARNING):
        TRAIN(replace(at, config=config))
    causes = dict(each.split(": ", 1) for each in str(told.value).splitlines())
    assert causes.keys() == {f"models.{name}" for name in BAD}
    for name, (_, text) in BAD.items():
        assert re.search(text, causes[f"models.{name}"]), name
    assert "models.leak: feature twice alone determines the label bought" in caplog.text
    assert "13 of 240 rows are left out because they have no value of bought" in caplog.text
    assert registered_model(config, at.tracker, "leak").tracker.champion() is not None


def test_a_planted_change_opens_the_gate_of_training_and_is_named(at: Runtime) -> None:
    def gate(days: float) -> tuple[dict[str, str], Any]:
        watched = {"models": {"buyers": {"time": "seen_at"}}, "window_days": days}
        monitor = MonitorParams.model_validate(watched | {"resamples": 199})
        with collected_task_values() as values:
            MONITOR(replace(at, config=at.config.model_copy(update={"monitor": monitor})))
        newest = at.lakehouse.read("gold.model_quality").orderBy("window_end").tail(1)[0]
        return values, newest

    shut, row = gate(1 / 24)
    assert shut == {"retrain": "false"}
    assert (row.alarms, row.note) == ([], "0 rows, fewer than 30: not judged")
    shut, row = gate(36_500)
    assert shut == {"retrain": "false"}
    assert row.rows == ROWS - 1, "u3 is erased only by the next write; u7 has no `spent`"
    assert row.labels == ROWS - UNLABELLED - 1
    frame, spec = visits(at.spark)
    at.lakehouse.replace(frame.selectExpr("* EXCEPT (spent)", "spent * 2 AS spent"), spec)
    opened, row = gate(36_500)
    assert opened == {"retrain": "true"}
    assert "drift" in row.alarms
    assert (row.main_feature, row.most_changed) == ("spent", "spent")


def test_the_driver_reads_no_more_rows_than_are_compared(
    at: Runtime, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    sizes: list[int] = []
    plain = MONITOR.__globals__["judge_window"]

    def counted(model: Any, metric: str, before: Any, now: Any, *more: Any) -> Any:
        sizes.extend((len(before), len(now)))
        return plain(model, metric, before, now, *more)

    monkeypatch.setitem(MONITOR.__globals__, "judge_window", counted)
    watched = {"models": {"segments": {"time": "seen_at"}}, "window_days": 36_500}
    monitor = MonitorParams.model_validate(watched | {"resamples": 100, "sample_rows": 100})
    MONITOR(replace(at, config=at.config.model_copy(update={"monitor": monitor})))
    assert 0 < sizes[0] <= sizes[1] == 100
    jobs = at.config.model_jobs.model_copy(update={"names": ("buyers",)})
    unwatched = at.config.model_copy(update={"monitor": monitor, "model_jobs": jobs})
    with caplog.at_level(logging.WARNING):
        MONITOR(replace(at, config=unwatched))
    assert "none of the chosen models is watched" in caplog.text
