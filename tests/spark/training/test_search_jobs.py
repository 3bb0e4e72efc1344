"""Searches in train_recommender: trials in MLflow and gold.trials, the best one fitted."""

import json
import logging
import runpy
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
import pytest
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession
from tests.support.lakes import forget_tables, lake_runtime, small_lake
from tests.support.sources import ROOT

from matchlake.recommender.split import split
from matchlake.runtime import Runtime
from matchlake.schemas import INTERACTIONS
from matchlake.search.trial import TRIALS
from matchlake.training import recommender_search, trial_log
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


@pytest.fixture(scope="module")
def at(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runtime]:
    """After a search that was killed once: its job failed in the third trial, and was resumed."""
    folder = tmp_path_factory.mktemp("search")
    small_lake(spark, folder)
    runtime = lake_runtime(spark, folder, *QUICK)
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
            thread.join(60)
    resumed = lake_runtime(spark, folder, *QUICK, "train.resume=true")
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

    def hangs(self: RecommenderTrials, *_: Any) -> Any:
        try:
            self._spark.range(1).selectExpr(
                "reflect('java.lang.Thread', 'sleep', 60000L)"
            ).collect()
        except PySparkException as error:
            ended.append(str(error))
            raise

    monkeypatch.setattr(recommender_search.RecommenderTrials, "_fit", hangs)
    space = {"space": {"rank": [2]}, "kind": "grid", "trial_seconds": 2}
    runtime = lake_runtime(
        at.spark, Path(at.config.lakehouse or ""), *QUICK[:-1], f"train.search={json.dumps(space)}"
    )
    with (
        caplog.at_level(logging.INFO),
        pytest.raises(Exception, match=r"All 1 trials .*took longer"),
    ):
        TRAIN["run"](runtime)
    for thread in threading.enumerate():
        if thread.name.startswith("trial-"):
            thread.join(20)
    assert len(ended) == 1, "the job was cancelled before its minute"
