"""A feature set is declared once: gold, a Matchbox fit and its answers all follow the set."""

import logging
import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from pyspark.sql import SparkSession
from tests.support.lakes import add_users_and_items, forget_tables, lake_runtime, small_lake
from tests.support.saved_models import tracker_in
from tests.support.sources import ROOT

from matchlake.config import JobConfig, load_config
from matchlake.errors import ConfigError
from matchlake.features.feature_set import FeatureSet
from matchlake.features.feature_tables import FEATURE_SETS, latest_model
from matchlake.features.model import FeatureModel
from matchlake.io.delta import Lakehouse
from matchlake.model_store.mlflow_flavor import EVALUATED, FACTORS
from matchlake.model_store.spark import load_model, load_numpy
from matchlake.recommender.matchbox.model import MatchboxModel
from matchlake.recommender.matchbox.numpy_model import NumpyMatchboxModel
from matchlake.runtime import Runtime
from matchlake.schemas import INTERACTIONS
from matchlake.training.params import SideTables
from matchlake.training.side_features import (
    Sides,
    fit_encoders,
    load_side_tables,
    read_encoders,
    read_sides,
    save_side_tables,
)

BUILD, TRAIN, RECOMMEND = (
    runpy.run_path(str(ROOT / "jobs" / f"{job}.py"))["run"]
    for job in ("build_features", "train_recommender", "recommend")
)
MATCHBOX = ("train.algorithm=matchbox", "train.metric=rmse")
QUICK = (
    *MATCHBOX,
    "train.matchbox={rank: 2, samples: 4, burn_in: 4, thinning: 1}",
    "recommend.k=3",
    "recommend.tables=[predicted_ratings]",
)
AGE = "features.tables.users.features.features.age_scaled.kind"


class Answers(NamedTuple):
    """What one declaration leads to."""

    gold: dict[str, float]
    """`age_scaled` of each user in gold."""
    state: FeatureModel | None
    """The newest state in gold."""
    encoder: FeatureModel | None
    """The encoder of the users in the registered model."""
    evaluated: FeatureModel | None
    """The encoder of the users in the evaluated model."""
    predicted: dict[tuple[str, str], float]
    """The rows of gold.predicted_ratings."""
    served: float
    """What the endpoint's model predicts for a new user, known by features."""


@pytest.fixture
def folder(spark: SparkSession, tmp_path: Path) -> Iterator[Path]:
    lake, _ = small_lake(spark, tmp_path)
    add_users_and_items(lake)
    yield tmp_path
    forget_tables(spark)


def run_jobs(spark: SparkSession, folder: Path, model: str, *overrides: str) -> Answers:
    """Runs the three jobs for a registered model of its own, which therefore is the champion."""
    at = lake_runtime(spark, folder, *QUICK, f"tracking.model={model}", *overrides)
    tracker = tracker_in(folder, model=model)
    at = Runtime(at.spark, at.config, at.lakehouse, at.secrets, tracker)
    for job in (BUILD, TRAIN, RECOMMEND):
        job(at)
    lake, champion = at.lakehouse, tracker.require_champion()
    encoders = []
    for path in (FACTORS, EVALUATED):
        with tracker.files(champion, f"artifacts/{path}") as files:
            loaded, local = load_model(files, spark), load_numpy(files)
            assert isinstance(loaded, MatchboxModel)
            encoders.append(loaded.encoders.users)
            if path == FACTORS:
                assert isinstance(local, NumpyMatchboxModel)
                new = local.fold_in_user({}, {"age": 30, "gender": "F", "occupation": "writer"})
                served = float(local.predict([new], ["i1"]).scores[0])
    predicted = lake.read("gold.predicted_ratings").collect()
    return Answers(
        {row.user_id: row.age_scaled for row in lake.read("gold.user_features").collect()},
        latest_model(lake.read(FEATURE_SETS.name), "users"),
        *encoders,
        {(row.user_id, row.item_id): row.rating for row in predicted},
        served,
    )


@pytest.mark.soak
def test_jobs_one_scaler_changed_changes_gold_encoder_and_answers(
    spark: SparkSession, folder: Path
) -> None:
    first = run_jobs(spark, folder, "first")
    again = run_jobs(spark, folder, "again")
    other = run_jobs(spark, folder, "other", f"{AGE}=z_score")
    assert first.encoder == first.state == again.encoder
    assert first.evaluated is not None
    assert first.evaluated.keys == ("user_id",)
    assert (again.gold, again.predicted, again.served) == (
        first.gold,
        first.predicted,
        first.served,
    )

    assert other.encoder == other.state
    assert other.encoder != first.encoder
    assert 0 <= min(first.gold.values()) < max(first.gold.values()) <= 1
    assert np.mean(list(other.gold.values())) == pytest.approx(0, abs=1e-9)
    assert other.served != first.served
    # Both models predict some pairs; predictions at an end of the scale were clipped to it.
    both = first.predicted.keys() & other.predicted.keys()
    inside = [pair for pair in both if 1 < first.predicted[pair] < 5]
    assert inside
    assert all(first.predicted[pair] != other.predicted[pair] for pair in inside)


def tables(config: JobConfig) -> SideTables:
    assert config.side_tables.users
    return config.side_tables


def in_lake(spark: SparkSession, folder: Path, *overrides: str) -> tuple[Lakehouse, JobConfig]:
    at = lake_runtime(spark, folder, *MATCHBOX, *overrides)
    return at.lakehouse, at.config


def test_fit_encoders_knows_the_training_part_alone(spark: SparkSession, folder: Path) -> None:
    lake, config = in_lake(spark, folder)
    interactions = lake.read(INTERACTIONS.name)
    sides = read_sides(lake, tables(config), interactions)
    train = interactions.where("user_id IN ('u1', 'u2') AND item_id <> 'i3'")
    users, items = fit_encoders(sides, tables(config), train).encoders
    assert isinstance(users, FeatureModel)
    assert isinstance(items, FeatureModel)
    assert users.rows == 2
    assert {output.name for output in users.outputs() if output.category} == {
        *("gender_F", "gender_M", "occupation_writer"),
    }
    assert items.rows == train.select("item_id").distinct().count()


@pytest.mark.soak
def test_read_encoders_takes_the_state_of_gold_or_fits_and_says_so(
    spark: SparkSession, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lake, config = in_lake(spark, folder)
    sides = Sides(lake.read("bronze.users"), None)
    declared = tables(config)
    with caplog.at_level(logging.WARNING, "matchlake"):
        users, items = read_encoders(lake, sides, declared, {}).encoders
    assert isinstance(users, FeatureSet)
    assert items is None
    assert "gold.feature_sets has no state of feature set users as declared" in caplog.text

    caplog.clear()
    BUILD(lake_runtime(spark, folder, *MATCHBOX))
    versions = {FEATURE_SETS.name: lake.version(FEATURE_SETS.name)}
    state = latest_model(lake.read(FEATURE_SETS.name), "users")
    assert read_encoders(lake, sides, declared, versions).encoders[0] == state
    assert "as declared" not in caplog.text
    for overrides, expected in (
        ((), FeatureSet),
        (("features.tables.users.reuse_fitted_state=true",), None),
    ):
        _, changed = in_lake(spark, folder, f"{AGE}=z_score", *overrides)
        found = read_encoders(lake, sides, tables(changed), versions).encoders[0]
        assert isinstance(found, expected) if expected else found == state


def test_config_a_set_that_is_not_declared_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"train\.features\.users: people is no feature set"):
        load_config("demo", ["train.features.users=people"], ROOT / "conf")
    assert load_config("demo", [], ROOT / "conf").side_tables == SideTables()
    config = load_config("demo", [*MATCHBOX, "train.features.items=null"], ROOT / "conf")
    assert config.side_tables.items is None

    save_side_tables(tmp_path, config.side_tables)
    assert load_side_tables(tmp_path, SideTables()) == config.side_tables
    assert load_side_tables(tmp_path / "none", SideTables()) == SideTables()
