"""Searches in train_recommender: trials in MLflow and gold.trials, the best one fitted."""

import json
import logging
import runpy
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import mlflow
import pytest
from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession
from tests.support.lakes import forget_tables, lake_runtime, small_lake
from tests.support.sources import ROOT

from matchlake.errors import FitError
from matchlake.lakehouse.registered_models import registered_model
from matchlake.model_store.scoring_folder import load_scoring_model
from matchlake.recommender.split import split
from matchlake.runtime import Runtime
from matchlake.schemas import INTERACTIONS, Column, TableSpec
from matchlake.search.trial import TRIALS
from matchlake.training import model_search, recommender_search, trial_log
from matchlake.training.feature_scores import FEATURE_SCORES
from matchlake.training.recommender_search import RecommenderTrials, validation_split

TRAIN = runpy.run_path(str(ROOT / "jobs" / "train_recommender.py"))
SEARCH: dict[str, Any] = {
    "kind": "grid",
    "space": {"rank": [2, 4], "regularization": [0.01, 1e7]},
    "parallel": 2,
    "validation_fraction": 0.3,
}
QUICK = (
    "train.ranking.ks=[10]",
    "train.split={kind: random, test_fraction: 0.2}",
    "train.refit_on_all_data=false",
    "train.require_better_than_baselines=false",
    f"train.search={json.dumps(SEARCH)}",
)


def runtime_in(spark: SparkSession, folder: Path, *more: str) -> Runtime:
    return lake_runtime(spark, folder, f"checkpoints={folder}/checkpoints", *more)


@pytest.fixture(scope="module")
def at(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runtime]:
    """After a search that was killed once: its job failed in the third trial, and was resumed."""
    folder = tmp_path_factory.mktemp("search")
    small_lake(spark, folder)
    runtime = runtime_in(spark, folder, *QUICK)
    with pytest.MonkeyPatch.context() as patch:
        plain, calls = trial_log.TrialLog.finished, []

        def dies(self: Any, trial: Any) -> None:
            calls.append(trial.number)
            if len(calls) == 3:  # it is in the journal, and nowhere else
                raise KeyboardInterrupt
            plain(self, trial)

        patch.setattr(trial_log.TrialLog, "finished", dies)
        with pytest.raises(KeyboardInterrupt):
            TRAIN["run"](runtime)
    for thread in threading.enumerate():
        if thread.name.startswith("trial-"):
            thread.join(500)
    resumed = runtime_in(spark, folder, *QUICK, "train.resume=true")
    fitted: list[Any] = []
    with pytest.MonkeyPatch.context() as patch:
        plain_fit = RecommenderTrials.objective

        def counted(self: RecommenderTrials, values: Any, report: Any) -> float:
            fitted.append(report.number)
            return plain_fit(self, values, report)

        patch.setattr(RecommenderTrials, "objective", counted)
        TRAIN["run"](resumed)
    assert len(fitted) == 1, "three trials came from the journal"
    yield resumed
    forget_tables(spark)


def test_each_trial_is_a_row_once(at: Runtime) -> None:
    rows = {row.trial: row for row in at.lakehouse.read(TRIALS.name).collect()}
    assert len(rows) == at.lakehouse.read(TRIALS.name).count() == 4
    assert len({row.search_id for row in rows.values()}) == 1
    found = [json.loads(rows[i].parameters) for i in range(4)]
    space = SEARCH["space"]
    assert found == [
        {"rank": r, "regularization": x} for r in space["rank"] for x in space["regularization"]
    ]
    failed = {row.trial for row in rows.values() if row.state == "failed"}
    assert failed == {1, 3}
    assert "the largest score is" in rows[1].reason
    best = max((row for row in rows.values() if row.state == "complete"), key=lambda r: r.value)
    assert [row.trial for row in rows.values() if row.is_best] == [best.trial]
    assert {row.metric for row in rows.values()} == {"ndcg_at_10"}


def test_each_trial_is_a_child_run_once_and_the_champion_has_the_best_parameters(
    at: Runtime,
) -> None:
    champion = at.tracker.require_champion()
    client = mlflow.MlflowClient()
    run = client.get_run(champion.run_id)
    children = client.search_runs([run.info.experiment_id], "tags.matchlake.child != ''")
    named = {child.data.tags["matchlake.child"]: child for child in children}
    assert len(children) == len(named) == 4
    assert {child.info.status for child in children} == {"FINISHED", "FAILED"}
    parents = {child.data.tags["mlflow.parentRunId"] for child in children}
    assert champion.run_id in parents
    assert len(parents) == 2, "two trials were logged before the crash"
    best = next(row for row in at.lakehouse.read(TRIALS.name).collect() if row.is_best)
    assert named[f"trial {best.trial}"].data.metrics == {"ndcg_at_10": best.value}
    assert run.data.params["best.rank"] == str(json.loads(best.parameters)["rank"])
    with at.tracker.files(champion, "artifacts/factors") as folder:
        trained = json.loads((folder / "train.json").read_text())
    assert trained["als"]["rank"] == json.loads(best.parameters)["rank"]
    plots = {each.path for each in client.list_artifacts(champion.run_id, "search")}
    assert "search/2_parallel_coordinates.png" in plots
    assert not list(Path(at.config.checkpoints).glob("train_recommender/*"))


def test_no_trial_sees_the_test_part(at: Runtime) -> None:
    params = at.config.train
    search = params.search
    assert search is not None
    parts = split(at.lakehouse.read(INTERACTIONS.name), params.split)
    inner = split(parts.train, validation_split(params.split, search))
    pairs = ["user_id", "item_id"]
    seen = inner.train.select(*pairs).unionByName(inner.test.select(*pairs))
    assert seen.join(parts.test, pairs, "semi").isEmpty()
    assert seen.count() == parts.train.count()
    assert 0.2 < inner.test.count() / parts.train.count() < 0.4


def test_a_trial_that_takes_too_long_stops_its_spark_jobs(
    at: Runtime, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    ended: list[str] = []
    monkeypatch.setattr(recommender_search.RecommenderTrials, "_fit", hangs(at.spark, ended))
    space = {"space": {"rank": [2]}, "kind": "grid", "trial_seconds": 2}
    runtime = runtime_in(
        at.spark, Path(at.config.lakehouse or ""), *QUICK[:-1], f"train.search={json.dumps(space)}"
    )
    with (
        caplog.at_level(logging.INFO),
        pytest.raises(Exception, match=r"All 1 trials .*took longer"),
    ):
        TRAIN["run"](runtime)
    assert_cancelled(ended)


def hangs(spark: SparkSession, ended: list[str]) -> Callable[..., Any]:
    """A fit whose Spark job takes a minute, and the error that ended it."""

    def fit(*_: Any) -> Any:
        try:
            spark.range(1).selectExpr("reflect('java.lang.Thread', 'sleep', 60000L)").collect()
        except (PySparkException, Py4JJavaError) as error:
            ended.append(str(error))
            raise

    return fit


def assert_cancelled(ended: list[str]) -> None:
    for thread in threading.enumerate():
        if thread.name.startswith("trial-"):
            thread.join(50)
    assert len(ended) == 1, "the job was cancelled before its minute"


SCORE_MODEL = runpy.run_path(str(ROOT / "jobs" / "score_model.py"))["run"]
TRAIN_MODEL = runpy.run_path(str(ROOT / "jobs" / "train_model.py"))["run"]
BUYERS: dict[str, Any] = {
    "rows": "silver.visits",
    "keys": ["user_id"],
    "comment": "Scores.",
    "label": "bought",
    "task": "classification",
    "features": {
        "city": {"kind": "one_hot"},
        **{name: {"kind": "z_score"} for name in ("spent", "noise", "same", "twice")},
    },
    "select": {"method": "anova", "max_p_value": 0.05, "max_correlation": 0.9},
    "trainer": {"kind": "sklearn", "estimator": "LogisticRegression"},
    "search": {
        "kind": "grid",
        "parallel": 2,
        "space": {"C": [0.01, 1.0], "penalty": ["l2", "l1"]},
    },
    "table": "gold.buyers",
}


@pytest.fixture(scope="module")
def visits(at: Runtime) -> Runtime:
    """300 users, of whom 27 return, most of those with a high `spent`."""
    frame = at.spark.sql("""
        SELECT concat('u', id) AS user_id, IF(id % 2 = 0, 'Rome', 'Oslo') AS city,
               CAST((id * 37 % 11) AS DOUBLE) AS spent, CAST((id * 37 % 11) * 2 AS DOUBLE) AS twice,
               CAST(hash(id) % 97 AS DOUBLE) AS noise, 1D AS same,
               IF((id * 37 % 11) + id % 3 > 6, 'yes', 'no') AS bought,
               IF(id * 37 % 11 >= 9 AND id % 2 = 0, 'yes', 'no') AS returned
        FROM range(300)
    """)
    columns = tuple(Column(f.name, f.dataType.simpleString(), f.name) for f in frame.schema)
    at.lakehouse.replace(frame, TableSpec("silver.visits", "Visits.", columns, user_columns=()))
    return at


def model_runtime(at: Runtime, **models: dict[str, Any]) -> Runtime:
    folder = Path(at.config.lakehouse or "")
    return runtime_in(at.spark, folder, f"models={json.dumps(models)}")


@pytest.mark.soak
def test_a_model_is_searched_and_reads_only_the_columns_that_it_keeps(visits: Runtime) -> None:
    at, runtime = visits, model_runtime(visits, buyers=BUYERS)
    TRAIN_MODEL(runtime)
    champion = registered_model(runtime.config, at.tracker, "buyers").tracker.require_champion()
    run = mlflow.MlflowClient().get_run(champion.run_id)
    trials = {
        row.trial: row
        for row in at.lakehouse.read(TRIALS.name).where("metric = 'log_loss'").collect()
    }
    assert [trials[i].state for i in range(4)] == ["complete", "failed", "complete", "failed"]
    assert "l1" in trials[1].reason
    assert run.data.params["best.C"] == "1.0"
    scores = {row.feature: row for row in at.lakehouse.read(FEATURE_SCORES.name).collect()}
    kept = {name: row.kept for name, row in scores.items()}
    assert kept == {"city": True, "spent": True, "twice": False, "noise": False, "same": False}
    assert scores["twice"].reason == "its correlation with spent is 1.000"
    assert scores["same"].reason == "constant"
    with registered_model(runtime.config, at.tracker, "buyers").tracker.files(
        champion, "artifacts/scoring"
    ) as scoring:
        assert load_scoring_model(scoring).columns() == ["user_id", "city", "spent"]
    SCORE_MODEL(runtime)
    assert at.lakehouse.read("gold.buyers").where("prediction IS NULL").isEmpty()


def test_a_space_that_no_fit_takes_ends_the_job_before_rows_are_read(at: Runtime) -> None:
    space = {"kind": "random", "space": {"max_itre": [5]}}
    wrong = BUYERS | {"rows": "silver.absent", "search": space}
    runtime = model_runtime(at, buyers=wrong)
    with pytest.raises(FitError, match=r"no hyperparameter 'max_itre'. Did you mean max_iter\?"):
        TRAIN_MODEL(runtime)


RETURNING = BUYERS | {
    "label": "returned",
    "select": None,
    "features": {"spent": {"kind": "z_score"}},
    "gate": {"require_better_than_constant": False},
    "table": "gold.returning",
}


@pytest.mark.soak
def test_trials_predict_by_the_threshold_of_the_model(visits: Runtime) -> None:
    """A rare class is never above one half here, so that F1 without a threshold is 0."""
    model = RETURNING | {
        "metric": "f1",
        "threshold": {},
        "search": {"kind": "grid", "space": {"C": [0.01, 0.1]}},
    }
    runtime = model_runtime(visits, returning=model)
    TRAIN_MODEL(runtime)
    trials = visits.lakehouse.read(TRIALS.name).where("metric = 'f1'").collect()
    assert len(trials) == 2
    assert all(row.value > 0.3 for row in trials), trials


CLUSTER = RETURNING | {
    "trainer": {"kind": "spark", "estimator": "LogisticRegression"},
    "max_rows": 60,
    "metric": "brier",
    "search": {
        "kind": "grid",
        "validation_fraction": 0.5,
        "space": {"regParam": [0.0, 0.1]},
        "trial_seconds": 120,
    },
}


@pytest.mark.soak
def test_trials_on_the_cluster_are_measured_on_as_many_rows_as_the_driver_takes(
    visits: Runtime, caplog: pytest.LogCaptureFixture
) -> None:
    scored: list[int] = []
    with pytest.MonkeyPatch.context() as patch, caplog.at_level(logging.INFO):
        plain = model_search.metric
        patch.setattr(
            model_search, "metric", lambda rows, name: scored.append(len(rows)) or plain(rows, name)
        )
        TRAIN_MODEL(model_runtime(visits, on_cluster=CLUSTER | {"table": "gold.on_cluster"}))
    trials = visits.lakehouse.read(TRIALS.name).where("metric = 'brier'").collect()
    assert {row.state for row in trials} == {"complete"}
    assert len(scored) == 2
    assert 30 <= scored[0] == scored[1] <= 90, "about 60 of 120"
    assert "about 60 of 120 validation rows are used" in caplog.text
    assert not list(Path(visits.config.checkpoints).glob("train_model/*"))


def test_a_trial_on_the_cluster_that_takes_too_long_stops_its_spark_jobs(
    visits: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended: list[str] = []
    monkeypatch.setattr(model_search._ModelTrials, "objective", hangs(visits.spark, ended))
    search = {"kind": "grid", "space": {"regParam": [0.0]}, "trial_seconds": 2}
    model = CLUSTER | {"search": search, "table": "gold.too_long"}
    with pytest.raises(FitError, match=r"All 1 trials .*took longer"):
        TRAIN_MODEL(model_runtime(visits, too_long=model))
    assert_cancelled(ended)
