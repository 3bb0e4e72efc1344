"""Cold start and late comers in all modes, on Spark and in NumPy; models saved and loaded."""

from pathlib import Path

import numpy as np
import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from tests.support.matchbox_frames import Frames, planted_frames

from matchlake.errors import InputError, SchemaError
from matchlake.model_store.spark import load_model, load_numpy, save_model
from matchlake.recommender.checkpoint import local_checkpoint
from matchlake.recommender.matchbox.fit import fit_matchbox
from matchlake.recommender.matchbox.fold_in_spark import fold_in_rows
from matchlake.recommender.matchbox.model import MatchboxModel
from matchlake.recommender.matchbox.numpy_model import NumpyMatchboxModel
from matchlake.recommender.matchbox.params import MatchboxParams
from matchlake.recommender.sides import USER
from matchlake.training.params import RecommendParams
from matchlake.training.scoring import BatchScoring
from matchlake.training.side_features import Sides
from matchlake.training.steps import with_newcomers

PARAMS = MatchboxParams(rank=2, samples=12, burn_in=20, thinning=1, max_history_features=30)
NEW_USER = {"one": "b", "three": 0.0}
RATED = {"i00": 5.0, "i03": 4.0, "i07": 1.0}


@pytest.fixture(scope="module")
def frames(spark: SparkSession) -> Frames:
    return planted_frames(spark)


@pytest.fixture(
    scope="module",
    params=[False, pytest.param(True, marks=pytest.mark.soak)],
    ids=["numbers", "levels"],
)
def saved(
    frames: Frames, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[MatchboxModel, Path]:
    params = PARAMS.model_copy(update={"ordinal": request.param})
    model = fit_matchbox(
        frames.ratings, user_features=frames.users, item_features=frames.items, params=params
    )
    folder = tmp_path_factory.mktemp("models") / "model"
    save_model(model, folder)
    return model, folder


@pytest.fixture(scope="module")
def model(spark: SparkSession, saved: tuple[MatchboxModel, Path]) -> MatchboxModel:
    """Loaded, with user new (features), user late (features and ratings) and item fresh."""
    loaded = load_model(saved[1], spark)
    assert isinstance(loaded, MatchboxModel)
    users = spark.createDataFrame(
        [("new", "b", None, 0.0), ("late", "b", None, 0.0)],
        "user_id string, one string, two string, three double",
    )
    history = spark.createDataFrame(
        [("late", item, rating) for item, rating in RATED.items()],
        "user_id string, item_id string, rating double",
    )
    items = spark.createDataFrame([("fresh", ["y"])], "item_id string, tags array<string>")
    return loaded.fold_in(users=history, user_features=users, item_features=items)


@pytest.fixture(scope="module")
def local(saved: tuple[MatchboxModel, Path]) -> NumpyMatchboxModel:
    found = load_numpy(saved[1])
    assert isinstance(found, NumpyMatchboxModel)
    return found


def pairs(spark: SparkSession, rows: list[tuple[str, str]]) -> DataFrame:
    numbered = [(*row, n) for n, row in enumerate(rows)]
    return spark.createDataFrame(numbered, "user_id string, item_id string, n int")


def test_ratings_of_cold_start_and_late_rows_agree_with_numpy(
    spark: SparkSession, model: MatchboxModel, local: NumpyMatchboxModel
) -> None:
    rows = {
        "new": local.fold_in_user({}, NEW_USER),
        "late": local.fold_in_user(RATED, NEW_USER),
        "fresh": local.fold_in_item({}, {"tags": ["y"]}),
    }
    users = ("u03", "u60", "new", "late", "nobody")
    asked = [(user, item) for user in users for item in ("i04", "i50", "fresh", "nothing")]
    found = model.score(pairs(spark, asked)).orderBy("n").toArrow().to_pandas()
    told = local.predict(
        [rows.get(user, user) for user, _ in asked], [rows.get(item, item) for _, item in asked]
    )
    np.testing.assert_allclose(found["score"], told.scores, atol=2e-3)
    np.testing.assert_allclose(found["rating_std"], told.rating_std, atol=2e-3)
    warm = {("u03", "i04"), ("late", "i04")}
    assert [not cold for cold in found["is_cold_start"]] == [pair in warm for pair in asked]
    if told.level_probabilities is not None:
        np.testing.assert_allclose(
            np.stack(found["level_probabilities"]), told.level_probabilities, atol=2e-3
        )
    # A row known by its features is less sure than a trained one, an unknown id at most so.
    deviation = dict(zip(asked, found["rating_std"], strict=True))
    if told.level_probabilities is None:
        assert deviation["u03", "i04"] < deviation["new", "i04"] < deviation["new", "fresh"]


@pytest.mark.soak
def test_items_for_cold_start_users_and_users_for_cold_start_items(
    spark: SparkSession, model: MatchboxModel, local: NumpyMatchboxModel
) -> None:
    users = ("u03", "u60", "new", "late", "nobody")
    wanted = spark.createDataFrame([(user,) for user in users], "user_id string")
    found = model.recommend_items(wanted, 4).orderBy("user_id", "rank").collect()
    rows = {"new": local.fold_in_user({}, NEW_USER), "late": local.fold_in_user(RATED, NEW_USER)}
    known = set(local.item_ids)
    for user in users:
        lists = [row for row in found if row["user_id"] == user]
        assert [row["rank"] for row in lists] == [1, 2, 3, 4]
        assert {row["is_cold_start"] for row in lists} == {user in ("u60", "new", "nobody")}
        told = local.recommend_items(rows.get(user, user), 4)
        if known.issuperset(row["item_id"] for row in lists):
            assert [row["item_id"] for row in lists] == [item for item, _ in told]
            scores = [row["score"] for row in lists]
            np.testing.assert_allclose(scores, [score for _, score in told], atol=0.02)
    # An unknown user is the average one, in lists as in scores.
    told = local.recommend_items("nobody", 4)
    rated = local.score(["nobody"] * 4, [item for item, _ in told])
    np.testing.assert_allclose([score for _, score in told], rated, atol=0.02)
    every = local.score(["nobody"] * len(local.item_ids), local.item_ids)
    assert rated[0] > every.max() - 0.02
    items = spark.createDataFrame([("fresh",), ("i50",)], "item_id string")
    readers = model.recommend_users(items, 3).collect()
    assert len(readers) == 6
    assert {row["is_cold_start"] for row in readers} == {True}


@pytest.mark.soak
def test_related_users_and_items_of_cold_start_rows(
    spark: SparkSession, model: MatchboxModel, local: NumpyMatchboxModel
) -> None:
    wanted = spark.createDataFrame([("new",), ("u03",)], "user_id string")
    users = model.related_users(wanted, 3).lists.orderBy("user_id", "rank").collect()
    assert len(users) == 6
    assert all(row["user_id"] != row["related_user_id"] for row in users)
    # Alike in features and without ratings: nobody is nearer to `new` than its twin would be.
    near = local.related_users(local.fold_in_user({}, NEW_USER), 60)
    assert {name for name, _ in near} <= set(local.user_ids)
    items = spark.createDataFrame([("fresh",), ("i50",)], "item_id string")
    lists = model.related_items(items, 3).lists.collect()
    assert {row["item_id"] for row in lists} == {"fresh", "i50"}
    assert local.related_items("i50", 2)[0][0] != "i50"


@pytest.mark.soak
def test_a_user_known_only_by_features_is_folded_in_as_a_new_one(
    spark: SparkSession, saved: tuple[MatchboxModel, Path]
) -> None:
    loaded = load_model(saved[1], spark)
    assert isinstance(loaded, MatchboxModel)
    users = spark.createDataFrame(
        [("u60", "a", None, 1.0), ("twin", "a", None, 1.0), ("fan", "b", None, 0.0)],
        "user_id string, one string, two string, three double",
    )
    # The fan comes with a rating of an item that the fit knew by features only.
    rated = [(user, item, rating) for user in ("u60", "twin") for item, rating in RATED.items()]
    history = spark.createDataFrame(
        [*rated, ("fan", "i50", 5.0), ("u03", "i50", 4.0)],
        "user_id string, item_id string, rating double",
    )
    items = spark.createDataFrame([("i50", ["x"])], "item_id string, tags array<string>")
    wide = with_newcomers(loaded, history, Sides(users, items), local_checkpoint)
    rows = {
        r["user_id"]: r for r in wide.user_factors.where("user_id in ('u60', 'twin')").collect()
    }
    assert rows["u60"]["n_interactions"] == rows["twin"]["n_interactions"] == len(RATED)
    np.testing.assert_allclose(rows["u60"]["factors"], rows["twin"]["factors"], atol=1e-6)
    # Ratings by the trained u03 count, those by the fan do not.
    assert [r["n_interactions"] for r in wide.item_factors.where("item_id = 'i50'").collect()] == [
        1
    ]
    asked = RecommendParams(related=2)
    answers = BatchScoring(loaded, history, Sides(users, items), asked).tables()["related_users"]
    related = {(r["user_id"], r["rank"]): r["related_user_id"] for r in answers.collect()}
    assert related["u60", 1] == "twin"
    assert related["twin", 1] == "u60"
    assert related["fan", 1] not in ("fan", None)


def test_a_loaded_model_answers_as_the_fitted_one(
    spark: SparkSession, saved: tuple[MatchboxModel, Path], frames: Frames
) -> None:
    fitted, folder = saved
    loaded = load_model(folder, spark)
    asked = frames.ratings.limit(50).select("user_id", "item_id")
    one, two = (
        m.score(asked).orderBy("user_id", "item_id").toArrow().to_pandas() for m in (fitted, loaded)
    )
    np.testing.assert_array_equal(one["score"], two["score"])
    weights = fitted.user_feature_effects().orderBy("feature").collect()
    assert weights == loaded.user_feature_effects().orderBy("feature").collect()
    assert [m.name for m in loaded.convergence_diagnostics()] == [
        m.name for m in fitted.convergence_diagnostics()
    ]


@pytest.mark.soak
def test_nothing_to_fold_in_and_invalid_ratings_are_errors(
    spark: SparkSession, model: MatchboxModel, local: NumpyMatchboxModel
) -> None:
    with pytest.raises(InputError, match="nothing to fold in"):
        model.fold_in()
    with pytest.raises(InputError, match=r"1 of 2 rating.* among them nan"):
        local.fold_in_user({"i00": 4.0, "no such item": float("nan")})
    rows = spark.createDataFrame(
        [("late", "i00", None)], "user_id string, item_id string, rating double"
    )
    with pytest.raises(Exception, match=r"rating\) is \(late, i00, null\)"):
        fold_in_rows(model, USER, rows, None).collect()
    if model.rating_levels is not None:
        with pytest.raises(
            Exception, match=r"\(late, i00, 4.5\).* one of the levels of the fit, 1, 2"
        ):
            fold_in_rows(model, USER, rows.withColumn("rating", F.lit(4.5)), None).collect()
    missing = local.fold_in_user({"i00": 4.0}, dict.fromkeys(NEW_USER))
    np.testing.assert_array_equal(local.fold_in_user({"i00": 4.0}).samples, missing.samples)
    late = fold_in_rows(model, USER, rows.withColumn("rating", F.lit(4.0)), None).collect()[0]
    np.testing.assert_allclose(late["biases"], missing.samples[:, -1], atol=1e-4)
    with pytest.raises(SchemaError, match=r"Unknown columns: colour"):
        local.fold_in_user({}, {"colour": "red"})
