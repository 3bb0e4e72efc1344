"""`fit_matchbox` on Spark: what it learns, predicts, flags and refuses."""

from datetime import timedelta

import numpy as np
import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from tests.support.matchbox_frames import START, Frames, planted_frames

from matchlake.errors import InputError, SchemaError
from matchlake.recommender.matchbox.fit import fit_matchbox
from matchlake.recommender.matchbox.model import MatchboxModel
from matchlake.recommender.matchbox.params import MatchboxParams

PARAMS = MatchboxParams(rank=2, samples=20, burn_in=30, thinning=1, max_history_features=30)


@pytest.fixture(scope="module")
def frames(spark: SparkSession) -> Frames:
    return planted_frames(spark)


@pytest.fixture(scope="module")
def model(frames: Frames) -> MatchboxModel:
    return fit_matchbox(
        frames.ratings, user_features=frames.users, item_features=frames.items, params=PARAMS
    )


@pytest.fixture(scope="module")
def pairs(spark: SparkSession) -> DataFrame:
    rows = [("u03", "i04", 1), ("u60", "i04", 2), ("u03", "i50", 3), ("u60", "i50", 4)]
    rows += [("new", "i04", 5), ("u03", "new", 6), (None, "i04", 7)]
    when = F.lit(START + timedelta(days=3))
    frame = spark.createDataFrame(rows, "user_id string, item_id string, n int")
    return frame.withColumn("event_time", when)


def test_pairs_get_a_rating_its_std_and_is_cold_start(
    model: MatchboxModel, frames: Frames, pairs: DataFrame
) -> None:
    found = model.score(pairs, clip=(1.0, 5.0)).orderBy("n").collect()
    assert [row["is_cold_start"] for row in found] == [False, True, True, True, True, True, True]
    rating_std = [row["rating_std"] for row in found]
    assert rating_std[0] < min(rating_std[1:4])
    assert rating_std[3] > max(rating_std[1:3])
    assert all(1 <= row["score"] <= 5 for row in found)
    scored = model.score(frames[0]).select("rating", "score", "rating_std").toArrow().to_pandas()
    error = scored["rating"] - scored["score"]
    assert np.sqrt((error**2).mean()) < 0.7 * scored["rating"].std()
    assert 0.85 < (error.abs() < 1.645 * scored["rating_std"]).mean() < 0.98


def test_trained_and_cold_start_rows_score_as_the_factor_model_does(
    model: MatchboxModel, pairs: DataFrame
) -> None:
    known = pairs.where("n <= 4")
    mine = model.score(known).orderBy("n").select("score").collect()
    theirs = model.factors.score(known).orderBy("n").select("score").collect()
    # The loss of the low-rank columns is bounded for trained rows; cold ones lie beside them.
    np.testing.assert_allclose(np.array(mine), np.array(theirs), atol=0.06)
    users = {row["user_id"]: row for row in model.user_factors.collect()}
    assert len(users) == 61
    assert users["u60"]["n_interactions"] == 0
    assert users["u60"]["user_idx"] == 60
    assert len(users["u03"]["factors"]) == 20 * 2


@pytest.mark.soak
def test_rating_levels_and_day_effects_give_level_probabilities(
    frames: Frames, pairs: DataFrame
) -> None:
    ratings, users, _ = frames
    params = PARAMS.model_copy(update={"ordinal": True, "day_effects": True, "chains": 2})
    model = fit_matchbox(ratings.repartition(3), user_features=users, params=params)
    assert model.rating_levels == [1.0, 2.0, 3.0, 4.0, 5.0]
    found = model.score(pairs).orderBy("n").collect()
    for row in found:
        np.testing.assert_allclose(sum(row["level_probabilities"]), 1.0, atol=1e-4)
        np.testing.assert_allclose(
            np.dot(row["level_probabilities"], model.rating_levels), row["score"], atol=1e-4
        )
    other_day = pairs.withColumn("event_time", F.lit(None).cast("timestamp"))
    moved = model.score(other_day).orderBy("n").collect()
    assert moved[0]["score"] != found[0]["score"]
    assert moved[1]["score"] == pytest.approx(found[1]["score"], abs=1e-4)
    again = fit_matchbox(ratings.orderBy("item_id"), user_features=users, params=params)
    np.testing.assert_array_equal(again.report.sides[0].means, model.report.sides[0].means)
    assert "error" in model.report.trace


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("again", r"repeat an earlier \(user_id, item_id\), among them .*u0"),
        ("null", r"cannot be fitted, among them"),
        ("equal", "All .* ratings are 3.0"),
        ("feature twice", r"1 user_id\(s\) have more than one feature row.*u60"),
        ("feature missing", r"1 user_id\(s\) have ratings but no feature row.*u05"),
        ("undated", "Some ratings have no date"),
    ],
)
def test_input_errors_show_the_rows(frames: Frames, change: str, message: str) -> None:
    ratings, users, items = frames
    params = PARAMS.model_copy(update={"samples": 1, "burn_in": 0})
    if change == "again":
        ratings = ratings.union(ratings.where("user_id = 'u01'").limit(1))
    elif change == "null":
        ratings = ratings.withColumn("item_id", F.expr("nullif(item_id, 'i03')"))
    elif change == "equal":
        ratings = ratings.withColumn("rating", F.lit(3.0))
    elif change == "feature twice":
        users = users.union(users.where("user_id = 'u60'"))
    elif change == "feature missing":
        users = users.where("user_id != 'u05'")
    else:
        params = params.model_copy(update={"day_effects": True})
        ratings = ratings.withColumn("event_time", F.expr("nullif(event_time, event_time)"))
    with pytest.raises(InputError, match=message):
        fit_matchbox(ratings, user_features=users, item_features=items, params=params)


def test_missing_columns_are_named(frames: Frames) -> None:
    ratings, users, _ = frames
    with pytest.raises(SchemaError, match="rating"):
        fit_matchbox(ratings.drop("rating"), params=PARAMS)
    with pytest.raises(SchemaError, match="no column besides user_id"):
        fit_matchbox(ratings, user_features=users.select("user_id"), params=PARAMS)
