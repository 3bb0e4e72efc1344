"""The jobs train_recommender and recommend on a small lakehouse and a real tracking store."""

import logging
import runpy
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import mlflow
import numpy as np
import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F
from tests.support import metric_oracles
from tests.support.lakes import forget_tables, lake_runtime, small_lake
from tests.support.saved_models import tracker_in
from tests.support.sources import ROOT

from matchlake.errors import ConfigError, FitError, ModelError
from matchlake.io.mlflow_tracking import Tracker
from matchlake.io.model_versions import ModelVersion
from matchlake.model_store.mlflow_flavor import EVALUATED, FACTORS
from matchlake.model_store.spark import load_numpy
from matchlake.recommender.als.numpy_model import NumpyFactorModel
from matchlake.recommender.split import split
from matchlake.runtime import Runtime
from matchlake.schemas import INTERACTIONS, RECOMMENDATIONS
from matchlake.training import scoring
from matchlake.training.promotion import without_champion_training_rows

TRAIN = runpy.run_path(str(ROOT / "jobs" / "train_recommender.py"))["run"]
RECOMMEND = runpy.run_path(str(ROOT / "jobs" / "recommend.py"))["run"]
QUICK = [
    "train.als.rank=4",
    "recommend.k=3",
    "recommend.tables=[recommendations]",
    "train.ranking.ks=[10]",
    # The lake's latest items are in nobody's training part of a split by time.
    "train.split={kind: random, test_fraction: 0.2}",
]


@dataclass(frozen=True)
class Product:
    """A lakehouse folder with its tracking store, and a way to run jobs on it."""

    spark: SparkSession
    folder: Path

    def runtime(self, *overrides: str) -> Runtime:
        return lake_runtime(self.spark, self.folder, *QUICK, *overrides)

    def train(self, *overrides: str) -> None:
        TRAIN(self.runtime(*overrides))

    def recommend(self) -> list[tuple[Any, ...]]:
        runtime = self.runtime()
        RECOMMEND(runtime)
        rows = runtime.lakehouse.read(RECOMMENDATIONS.name).collect()
        return sorted(tuple(row) for row in rows)

    def versions(self) -> dict[str, Any]:
        self.runtime().tracker.champion()
        found = mlflow.MlflowClient().search_model_versions("name='recommender'")
        return {str(version.version): version for version in found}

    def model(self, version: ModelVersion, path: str) -> NumpyFactorModel:
        with self.runtime().tracker.files(version, f"artifacts/{path}") as folder:
            return load_numpy(folder)


@pytest.fixture(scope="module")
def made(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    folder = tmp_path_factory.mktemp("training")
    small_lake(spark, folder)
    yield Product(spark, folder)
    forget_tables(spark)


@pytest.fixture(scope="module")
def product(made: Product) -> Product:
    """With a first version, popularity, and a second, better one."""
    with pytest.raises(ModelError, match="Run the job train_recommender first"):
        made.recommend()
    assert not made.runtime().lakehouse.exists(RECOMMENDATIONS.name)
    with pytest.raises(FitError, match="the largest score is"):
        made.train("train.als.iterations=1", "train.als.regularization=1e6")
    made.train(
        "train.algorithm=popularity",
        "train.require_better_than_baselines=false",
        "train.refit_on_all_data=false",
    )
    made.train()
    return made


def ratings_of(
    product: Product, part: str
) -> tuple[dict[str, list[str]], dict[str, list[tuple[str, float]]]]:
    """By user: the items, and the items with their ratings, of a part of the default split."""
    runtime = product.runtime()
    interactions = runtime.lakehouse.read(INTERACTIONS.name)
    frame = getattr(split(interactions, runtime.config.train.split), part)
    items, rated = defaultdict(list), defaultdict(list)
    for row in frame.collect():
        items[row["user_id"]].append(row["item_id"])
        rated[row["user_id"]].append((row["item_id"], row["rating"]))
    return items, rated


def test_the_better_model_becomes_champion(product: Product) -> None:
    versions = product.versions()
    assert versions["1"].tags["decision"] == "the first model: there was no champion"
    assert versions["2"].tags["decision"].startswith("better: ndcg_at_10")
    assert "of champion 1, on the same test part" in versions["2"].tags["decision"]
    champion = product.runtime().tracker.champion()
    assert champion is not None
    assert champion.version == "2"


def test_the_figures_are_those_of_the_logged_model(product: Product) -> None:
    tracker = product.runtime().tracker
    champion = tracker.require_champion()
    model = product.model(champion, EVALUATED)
    seen, _ = ratings_of(product, "train")
    _, truth = ratings_of(product, "test")
    lists = {user: model.recommend_items(user, 10, exclude_seen=seen[user]) for user in truth}
    by_user = [metric_oracles.ranking(lists[u], truth[u], 10, start=4.0) for u in truth]
    figures = tracker.metrics(champion)
    for name in ("ndcg", "recall", "map"):
        known = [figure[name] for figure in by_user if figure[name] is not None]
        assert figures[f"{name}_at_10"] == pytest.approx(np.mean(known), abs=1e-9), name
    assert {"popularity/ndcg_at_10", "bias/ndcg_at_10", "bias/rmse", "loss"} <= figures.keys()
    assert {"fit/alpha", "fit/weight_scale", "fit/regularization"} <= figures.keys()
    assert "rmse" not in figures


def test_the_model_that_serves_is_fitted_again_on_everything(product: Product) -> None:
    champion = product.runtime().tracker.require_champion()
    evaluated, served = (product.model(champion, name) for name in (EVALUATED, FACTORS))
    seen, _ = ratings_of(product, "train")
    assert evaluated.user_interactions is not None
    assert served.user_interactions is not None
    assert evaluated.user_interactions.sum() == sum(map(len, seen.values()))
    assert (
        served.user_interactions.sum()
        == product.runtime().lakehouse.read(INTERACTIONS.name).count()
    )


def test_the_run_holds_parameters_inputs_and_plots(product: Product) -> None:
    champion = product.runtime().tracker.require_champion()
    run = mlflow.MlflowClient().get_run(champion.run_id)
    version = product.runtime().lakehouse.version(INTERACTIONS.name)
    assert run.data.params["silver.interactions.version"] == str(version)
    assert run.data.params["als.rank"] == "4"
    assert run.inputs.dataset_inputs[0].dataset.name == "silver.interactions"
    assert run.info.run_name.startswith("train_recommender als ")
    listed = mlflow.artifacts.list_artifacts(run_id=run.info.run_id, artifact_path="plots")
    assert min(each.path for each in listed) == "plots/1_comparison.png"


@pytest.mark.soak
def test_an_equal_model_stays_challenger(
    product: Product, caplog: pytest.LogCaptureFixture
) -> None:
    before = product.runtime().tracker.require_champion()
    with caplog.at_level(logging.INFO):
        product.train("train.refit_on_all_data=false")
    assert "is challenger: not better: ndcg_at_10" in caplog.text
    assert product.runtime().tracker.require_champion() == before
    alias = mlflow.MlflowClient().get_model_version_by_alias("recommender", "challenger")
    assert int(alias.version) == max(map(int, product.versions()))


@pytest.mark.soak
def test_an_explicit_fit_is_evaluated_by_its_errors_too(made: Product) -> None:
    runtime = made.runtime(
        "train.als={feedback: explicit, rank: 4, iterations: 3}",
        "train.metric=rmse",
        "tracking.experiment=explicit",
        "tracking.model=rater",
    )
    tracker = tracker_in(made.folder, experiment="explicit", model="rater")
    TRAIN(Runtime(runtime.spark, runtime.config, runtime.lakehouse, runtime.secrets, tracker))
    champion = tracker.require_champion()
    with tracker.files(champion, f"artifacts/{EVALUATED}") as folder:
        model = load_numpy(folder)
    _, truth = ratings_of(made, "test")
    pairs = [(user, item, rating) for user in truth for item, rating in truth[user]]
    scores = model.score([p[0] for p in pairs], [p[1] for p in pairs])
    rmse, mae, _ = metric_oracles.rating(
        [(p[2], float(s)) for p, s in zip(pairs, scores, strict=True)]
    )
    figures = tracker.metrics(champion)
    assert figures["rmse"] == pytest.approx(rmse, rel=1e-6)
    assert figures["mae"] == pytest.approx(mae, rel=1e-6)
    plots = {a.path for a in mlflow.artifacts.list_artifacts(run_id=champion.run_id)}
    assert {"ranking.png", "rating.png", "residuals.png"} <= plots


def test_training_rows_of_the_champion_are_not_evaluated(product: Product) -> None:
    runtime = product.runtime("train.split={kind: user_time, test_fraction: 0.2}")
    lakehouse, params = runtime.lakehouse, runtime.config.train
    version = lakehouse.version(INTERACTIONS.name)
    then = split(lakehouse.read(INTERACTIONS.name, version), params.split)
    pair = then.train.where("user_id = 'u3'").orderBy("event_time").limit(1).collect()[0]
    now = lakehouse.read(INTERACTIONS.name, version).withColumn(
        "event_time",
        F.when(
            (F.col("user_id") == "u3") & (F.col("item_id") == pair.item_id),
            F.lit("2100-01-01").cast("timestamp"),
        ).otherwise(F.col("event_time")),
    )
    parts = split(now, params.split)
    again = parts.test.where(F.col("user_id") == "u3").select("item_id").collect()
    assert pair.item_id in {row.item_id for row in again}
    tracker = cast("Tracker", SimpleNamespace(input_version=lambda *_: version))
    champion = ModelVersion("m", "1", "run")
    both = without_champion_training_rows(champion, tracker, lakehouse, parts, params)
    left = parts.test.select("user_id", "item_id").exceptAll(both.test.select("user_id", "item_id"))
    assert [tuple(row) for row in left.collect()] == [("u3", pair.item_id)]
    assert without_champion_training_rows(champion, tracker, lakehouse, then, params) is then
    tracker = cast("Tracker", SimpleNamespace(input_version=lambda *_: 10_000))
    with pytest.raises(
        ModelError, match=r"version 10000 of silver\.interactions.*no longer exists"
    ):
        without_champion_training_rows(champion, tracker, lakehouse, parts, params)


@pytest.mark.soak
def test_a_job_that_fails_registers_nothing(
    product: Product, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = product.versions().keys()

    def fail(*_: object) -> None:
        raise RuntimeError("disk full")

    monkeypatch.setitem(TRAIN.__globals__, "save_model", fail)
    with pytest.raises(RuntimeError, match="disk full"):
        product.train("train.als.iterations=1")
    assert product.versions().keys() == before
    (latest,) = mlflow.search_runs(
        experiment_names=["matchlake"], max_results=1, output_format="list"
    )
    assert latest.info.status == "FAILED"


def test_a_weight_that_is_no_expression_is_a_config_error(product: Product) -> None:
    with pytest.raises(ConfigError, match=r"train\.weight 'stars \* 2'.*user_id.*rating"):
        product.train("train.weight=stars * 2")


def test_recommends_the_best_unseen_items_of_the_champion(product: Product) -> None:
    champion = product.runtime().tracker.require_champion()
    rows = product.recommend()
    model = product.model(champion, FACTORS)
    seen = defaultdict(list)
    for row in product.runtime().lakehouse.read(INTERACTIONS.name).collect():
        seen[row["user_id"]].append(row["item_id"])
    expected = sorted(
        (user, place, item)
        for user in model.user_ids
        for place, (item, _) in enumerate(
            model.recommend_items(user, 3, exclude_seen=seen[user]), 1
        )
    )
    assert [row[:3] for row in rows] == expected
    assert {row[4] for row in rows} == {champion.version}
    assert product.recommend() == rows


def test_a_user_who_came_after_training_is_folded_in(product: Product) -> None:
    runtime = product.runtime()
    champion = runtime.tracker.require_champion()
    model = product.model(champion, FACTORS)
    version = runtime.lakehouse.version(INTERACTIONS.name)
    history = {"i3": 5.0, "i7": 4.0}
    rows = [("newcomer", item, rating) for item, rating in history.items()]
    frame = runtime.spark.createDataFrame(rows, "user_id string, item_id string, rating double")
    runtime.lakehouse.append(
        frame.withColumn("event_time", F.timestamp_seconds(F.lit(1))), INTERACTIONS
    )
    try:
        told = [row[2] for row in product.recommend() if row[0] == "newcomer"]
    finally:
        name = runtime.lakehouse.name(INTERACTIONS.name)
        runtime.spark.sql(f"RESTORE TABLE {name} TO VERSION AS OF {version}").collect()
    row = model.fold_in_user({item: rating**2 for item, rating in history.items()})
    assert told == [item for item, _ in model.recommend_items(row, 3, exclude_seen=history)]


def test_a_failure_while_writing_leaves_the_table_as_it_was(
    product: Product, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = product.recommend()
    break_down: Callable[..., Any] = F.udf(lambda _: 1 // 0, "int")

    def broken(model: Any, *_: Any) -> Any:
        bias = model.user_factors.bias + break_down("user_id")
        return replace(model, user_factors=model.user_factors.withColumn("bias", bias))

    monkeypatch.setattr(scoring, "with_newcomers", broken)
    with pytest.raises(Exception, match="ZeroDivisionError"):
        product.recommend()
    rows = product.runtime().lakehouse.read(RECOMMENDATIONS.name).collect()
    assert sorted(tuple(row) for row in rows) == before
