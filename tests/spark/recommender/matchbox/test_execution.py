"""One chain on any schedule, number of blocks and partitioning; and what never reaches it."""

from datetime import timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from tests.support.matchbox_frames import START, Frames, planted_frames

from matchlake.errors import InputError
from matchlake.features.categories import MultiHot, OneHot
from matchlake.features.feature_set import FeatureSet
from matchlake.io.fit_checkpoints import FitCheckpoints
from matchlake.recommender.matchbox.fit import fit_matchbox
from matchlake.recommender.matchbox.model import MatchboxModel
from matchlake.recommender.matchbox.params import MatchboxParams
from matchlake.recommender.split import split_cold_users
from matchlake.training.params import TrainParams
from matchlake.training.side_features import Sides
from matchlake.training.steps import fit_model

PARAMS = MatchboxParams(rank=2, samples=3, burn_in=2, thinning=1, max_history_features=20)
TOLERANCE = 2e-3
"""Stars by which a score may differ after these sweeps: sums are rounded in another order."""


@pytest.fixture(scope="module")
def frames(spark: SparkSession) -> Frames:
    return planted_frames(spark)


def scores(model: MatchboxModel, pairs: DataFrame) -> pd.DataFrame:
    found = model.score(pairs).orderBy("user_id", "item_id").toArrow().to_pandas()
    return found[["score", "rating_std"]]


@pytest.mark.parametrize(
    ("blocks", "ordinal"), [(2, False), pytest.param(3, True, marks=pytest.mark.soak)]
)
def test_blocks_draw_the_chain_of_one_task(
    spark: SparkSession, frames: Frames, blocks: int, *, ordinal: bool
) -> None:
    chosen = {"ordinal": ordinal, "blocks": blocks}
    params = PARAMS.model_copy(update=chosen)
    users = None if ordinal else frames.users
    one = fit_matchbox(
        frames.ratings, user_features=users, item_features=frames.items, params=params
    )
    forced = params.model_copy(update={"execution": "distributed"})
    many = fit_matchbox(
        frames.ratings.repartition(3),
        user_features=users,
        item_features=frames.items,
        params=forced,
    )
    ids = [("u03", "i04"), ("u03", "i50"), ("u59", "i00"), ("new", "i01"), ("u60", "i50")]
    pairs = spark.createDataFrame(ids, "user_id string, item_id string")
    pairs = pairs.unionByName(frames.ratings.select("user_id", "item_id"))
    np.testing.assert_allclose(scores(one, pairs), scores(many, pairs), atol=TOLERANCE)
    for side, name in ((0, "means"), (1, "precisions"), (1, "links")):
        found, other = (getattr(m.report.sides[side], name) for m in (one, many))
        np.testing.assert_allclose(found, other, rtol=0.01, atol=0.01)
    assert {m.name for m in one.convergence_diagnostics()} == {
        m.name for m in many.convergence_diagnostics()
    }
    counts = ("user_id", "user_idx", "n_interactions")
    assert one.user_factors.select(*counts).orderBy("user_idx").collect() == (
        many.user_factors.select(*counts).orderBy("user_idx").collect()
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("again", "among them"),
        ("feature twice", r"user_id\(s\) have more than one feature row.*u60"),
        ("feature missing", r"user_id\(s\) have ratings but no feature row.*u05"),
        ("chains", "neither day effects nor several chains"),
        ("noise", "nor a global noise variance: leave out"),
    ],
)
def test_blocks_reject_the_same_input_as_one_task(
    frames: Frames, change: str, message: str
) -> None:
    ratings, users, items = frames
    params = PARAMS.model_copy(update={"samples": 1, "burn_in": 0, "execution": "distributed"})
    if change == "again":
        ratings = ratings.union(ratings.where("user_id = 'u01'").limit(1))
    elif change == "feature twice":
        users = users.union(users.where("user_id = 'u60'"))
    elif change == "feature missing":
        users = users.where("user_id != 'u05'")
    else:
        changes = {"chains": {"chains": 2}, "noise": {"noise_variance": "global"}}
        params = params.model_copy(update=changes[change])
    with pytest.raises(InputError, match=message):
        fit_matchbox(ratings, user_features=users, item_features=items, params=params)


def test_other_test_pairs_ratings_and_days_do_not_change_the_model(
    spark: SparkSession, frames: Frames, tmp_path: Path
) -> None:
    params = TrainParams.model_validate(
        {
            "algorithm": "matchbox",
            "metric": "rmse",
            "matchbox": PARAMS.model_dump() | {"day_effects": True, "ordinal": True},
        }
    )
    encoders = (
        FeatureSet(name="users", features={"one": OneHot()}),
        FeatureSet(name="items", features={"tags": MultiHot()}),
    )
    sides = Sides(frames.users, frames.items, encoders)
    parts = split_cold_users(frames.ratings, 0.3)
    cold = [row["user_id"] for row in parts.test.select("user_id").distinct().collect()]
    other = [
        (user, f"i{(7 * n + len(user)) % 50:02}", 1.0 + n % 5, START - timedelta(days=n))
        for user in cold
        for n in range(9)
    ]
    replaced = spark.createDataFrame(other, frames.ratings.schema)
    changed = split_cold_users(parts.train.unionByName(replaced), 0.3)
    assert changed.test.exceptAll(parts.test).count() > len(cold)
    one, two = (
        fit_model(part.train, params, sides, FitCheckpoints(spark, tmp_path / name))
        for name, part in (("one", parts), ("two", changed))
    )
    assert isinstance(one, MatchboxModel)
    assert isinstance(two, MatchboxModel)
    assert one.report.to_bytes() == two.report.to_bytes()
    rows = [
        m.user_factors.select(
            "user_id", "n_interactions", F.xxhash64("factors", "biases").alias("hash")
        )
        .orderBy("user_id")
        .collect()
        for m in (one, two)
    ]
    assert rows[0] == rows[1]
    assert {row["user_id"] for row in rows[0] if not row["n_interactions"]} >= set(cold)
