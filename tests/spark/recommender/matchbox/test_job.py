"""train_recommender and recommend with a Matchbox model: registered, gated, and its tables."""

import runpy
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import mlflow
import numpy as np
import pytest
from pyspark.sql import SparkSession
from tests.support.lakes import add_users_and_items, forget_tables, lake_runtime, small_lake
from tests.support.saved_models import tracker_in
from tests.support.sources import ROOT

from matchlake.errors import ConfigError
from matchlake.lakehouse.views import create_views
from matchlake.model_store.mlflow_flavor import FACTORS
from matchlake.model_store.spark import load_numpy
from matchlake.recommender.matchbox.numpy_model import NumpyMatchboxModel
from matchlake.runtime import Runtime

TRAIN = runpy.run_path(str(ROOT / "jobs" / "train_recommender.py"))["run"]
RECOMMEND = runpy.run_path(str(ROOT / "jobs" / "recommend.py"))["run"]
# The demo's test trains such a model too, with `make test`.
pytestmark = pytest.mark.soak
CHOSEN = [
    "train.algorithm=matchbox",
    "train.matchbox={rank: 2, samples: 6, burn_in: 6, thinning: 1}",
    "train.metric=rmse",
    "train.azure_ml_modes={k: 3}",
    "train.ranking.ks=[10]",
    "train.require_better_than_baselines=false",
    "recommend.k=3",
    "recommend.related=2",
]


@dataclass(frozen=True)
class Product:
    """A lakehouse with users, items and interactions, and its tracking store."""

    spark: SparkSession
    folder: Path

    def runtime(self, *overrides: str) -> Runtime:
        return lake_runtime(self.spark, self.folder, *CHOSEN, *overrides)


@pytest.fixture(scope="module")
def product(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    folder = tmp_path_factory.mktemp("matchbox")
    lake, _ = small_lake(spark, folder)
    add_users_and_items(lake)
    made = Product(spark, folder)
    TRAIN(made.runtime())
    yield made
    forget_tables(spark)


@pytest.fixture(scope="module")
def written(product: Product) -> Product:
    runtime = product.runtime()
    RECOMMEND(runtime)
    create_views(runtime.lakehouse, runtime.config)
    return product


def test_the_run_holds_all_modes_calibration_and_convergence(product: Product) -> None:
    tracker = product.runtime().tracker
    figures = tracker.metrics(tracker.require_champion())
    assert {
        "rmse",
        "mae",
        "interval_coverage_90",
        "log_likelihood",
        "ndcg_at_10",
        "bias/rmse",
    } <= figures.keys()
    assert {"rated_ndcg_at_3", "related_users_ndcg_l1_at_3", "related_items_ndcg_l2_at_3"} <= (
        figures.keys()
    )
    for name in ("error", "user_link_scale_age_scaled", "item_link_scale_history"):
        assert figures[f"convergence/{name}/r_hat"] > 0
        assert figures[f"convergence/{name}/ess"] > 0
    run_id = tracker.require_champion().run_id
    logged = mlflow.MlflowClient().get_run(run_id).data.params
    inputs = ("silver.interactions", "bronze.users", "bronze.items")
    assert all(int(logged[f"{table}.version"]) >= 0 for table in inputs)
    files = {a.path for a in mlflow.artifacts.list_artifacts(run_id=run_id)}
    assert {"user_feature_effects.json", "item_feature_effects.json", "residuals.png"} <= files


def test_the_gate_takes_a_metric_of_another_mode(product: Product) -> None:
    TRAIN(
        product.runtime("train.metric=related_users_ndcg_l1_at_3", "train.refit_on_all_data=false")
    )
    found = mlflow.MlflowClient().search_model_versions("name='recommender'")
    newest = max(found, key=lambda version: int(version.version))
    assert newest.tags["decision"].startswith("not better: related_users_ndcg_l1_at_3")


def test_every_mode_has_its_table(written: Product) -> None:
    lake = written.runtime().lakehouse
    users = {row["user_id"] for row in lake.read("bronze.users").collect()} | {"u0"}
    seen = {(r["user_id"], r["item_id"]) for r in lake.read("silver.interactions").collect()}
    best = lake.read("gold.recommendations").collect()
    assert {row["user_id"] for row in best} == users
    assert not {(row["user_id"], row["item_id"]) for row in best} & seen
    assert {row["user_id"] for row in best if row["is_cold_start"]} == {"newcomer"}
    for side, count in (("item", 41), ("user", 61)):
        related = lake.read(f"gold.related_{side}s").collect()
        assert len(related) == 2 * count
        assert all(row[f"{side}_id"] != row[f"related_{side}_id"] for row in related)
    rated = lake.read("gold.predicted_ratings").collect()
    assert {(r["user_id"], r["item_id"]) for r in rated} == {
        (r["user_id"], r["item_id"]) for r in best
    }
    assert all(1 <= row["rating"] <= 5 and row["rating_std"] > 0 for row in rated)
    weights = {row["feature"]: row for row in lake.read("gold.feature_effects").collect()}
    assert {
        "age_scaled",
        "occupation_student",
        "gender_null",
        "genres_Drama",
        "year_scaled",
    } <= weights.keys()
    assert weights["genres_Drama"]["side"] == "item"


def test_the_tables_have_titles_and_a_wide_form_in_sql(written: Product) -> None:
    ask = written.spark.sql
    rows = ask(
        "SELECT title, rating, low, high FROM gold.predicted_ratings_with_titles "
        "WHERE user_id = 'newcomer' ORDER BY rating DESC"
    ).collect()
    assert len(rows) == 3
    assert all(row["title"].startswith("Film ") for row in rows)
    assert all(1 <= row["low"] <= row["rating"] <= row["high"] <= 5 for row in rows)
    assert all(row["low"] < row["high"] for row in rows)
    titled = ask("SELECT * FROM gold.related_items_with_titles WHERE item_id = 'i3'").collect()
    assert {row["title"] for row in titled} == {"Film 3"}
    wide = ask("SELECT * FROM gold.recommendations_wide WHERE `User` = 'u5'").collect()[0]
    long = ask("SELECT item_id FROM gold.recommendations WHERE user_id = 'u5' ORDER BY rank")
    assert [wide[f"Item {n}"] for n in (1, 2, 3)] == [row[0] for row in long.collect()]
    assert "Related User 2" in ask("SELECT * FROM gold.related_users_wide").columns
    assert "Related Item 2" in ask("SELECT * FROM gold.related_items_wide").columns


def test_requested_pairs_are_predicted_as_the_served_model_does(written: Product) -> None:
    overrides = (
        "recommend.score_pairs_table=silver.interactions",
        "recommend.tables=[predicted_ratings]",
    )
    runtime = written.runtime(*overrides)
    RECOMMEND(runtime)
    rated = runtime.lakehouse.read("gold.predicted_ratings").collect()
    assert len(rated) == runtime.lakehouse.read("silver.interactions").count()
    champion = runtime.tracker.require_champion()
    with runtime.tracker.files(champion, f"artifacts/{FACTORS}") as folder:
        model = load_numpy(folder)
    assert isinstance(model, NumpyMatchboxModel)
    some = rated[:200]
    told = model.predict([r["user_id"] for r in some], [r["item_id"] for r in some], (1.0, 5.0))
    np.testing.assert_allclose([r["rating"] for r in some], told.scores, atol=1e-3)
    np.testing.assert_allclose([r["rating_std"] for r in some], told.rating_std, atol=1e-3)


def test_a_champion_that_only_ranks_cannot_predict_ratings(product: Product) -> None:
    ranker = [
        "tracking.model=ranker",
        "train.algorithm=als",
        "train.als.rank=4",
        "train.metric=ndcg_at_10",
        "recommend.tables=[predicted_ratings]",
    ]
    runtime = product.runtime(*ranker)
    tracker = tracker_in(product.folder, model="ranker")
    runtime = Runtime(runtime.spark, runtime.config, runtime.lakehouse, runtime.secrets, tracker)
    TRAIN(runtime)
    with pytest.raises(ConfigError, match="predicted_ratings, which the champion does not support"):
        RECOMMEND(runtime)
