"""What a factor model answers on Spark, against NumPy and against the model without Spark."""

from dataclasses import replace

import numpy as np
import pytest
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from tests.support.als_oracle import fixed
from tests.support.executions import executions

from matchlake.errors import ConfigError, ParameterError, SchemaError
from matchlake.formulas.weights import log_weight, time_decay
from matchlake.recommender.als.fit import fit_als
from matchlake.recommender.als.model import FactorModel
from matchlake.recommender.als.numpy_model import NumpyFactorModel
from matchlake.recommender.sides import ITEM, USER
from matchlake.training.params import RecommendParams
from matchlake.training.scoring import BatchScoring
from matchlake.training.side_features import Sides

USERS, ITEMS, RANK = 30, 20, 4
_SIDE = "{0}_id string, {0}_idx long, factors array<float>, bias float, n_interactions long"


def built(spark: SparkSession, feedback: str) -> tuple[FactorModel, NumpyFactorModel]:
    """One model twice. Factors are small integers: sums are exact, and many scores are equal."""
    rng = np.random.default_rng(5)
    explicit = feedback == "explicit"
    params = fixed(feedback=feedback, rank=RANK)
    sides = []
    for size in (USERS, ITEMS):
        factors = rng.integers(-2, 3, (size, RANK)).astype(np.float32)
        bias = rng.integers(-2, 3, size).astype(np.float32) * explicit
        sides.append((factors, bias, rng.integers(1, 9, size)))
    frames, ids = [], []
    for letter, name, (factors, bias, n_interactions) in zip(
        "ui", ("user", "item"), sides, strict=True
    ):
        keys = [f"{letter}{n:02d}" for n in range(len(factors))]
        rows = [
            (key, n, factors[n].tolist(), float(bias[n]), int(n_interactions[n]))
            for n, key in enumerate(keys)
        ]
        frames.append(
            spark.createDataFrame(rows, _SIDE.format(name)).orderBy(F.desc(f"{name}_idx"))
        )
        ids.append(keys)
    mean = 3.0 if explicit else 0.0
    local = NumpyFactorModel(
        ids[0],
        ids[1],
        sides[0][0],
        sides[1][0],
        sides[0][1],
        sides[1][1],
        mean,
        params,
        sides[0][2],
        sides[1][2],
    )
    return FactorModel(frames[0], frames[1], mean, params, (USERS, ITEMS)), local


@pytest.fixture(
    scope="module", params=["explicit", pytest.param("implicit", marks=pytest.mark.soak)]
)
def models(
    request: pytest.FixtureRequest, spark: SparkSession
) -> tuple[FactorModel, NumpyFactorModel]:
    return built(spark, request.param)


@pytest.fixture(scope="module")
def seen(spark: SparkSession) -> DataFrame:
    """u00 has seen all but two; u01 nothing; the rest some; there are strangers and nulls."""
    rng = np.random.default_rng(9)
    rows: list[tuple[str | None, str | None]] = [("u00", f"i{n:02d}") for n in range(2, ITEMS)]
    for user in range(2, USERS):
        rows += [(f"u{user:02d}", f"i{n:02d}") for n in rng.choice(ITEMS, 6, replace=False)]
    rows += [("u02", "unknown"), ("nobody", "i01"), (None, "i01"), ("u02", None)]
    return spark.createDataFrame(rows, "user_id string, item_id string")


def lists(frame: DataFrame, query: str, target: str) -> dict[str, list[tuple[str, float]]]:
    found: dict[str, list[tuple[str, float]]] = {}
    for row in frame.orderBy(query, "rank").collect():
        line = found.setdefault(row[query], [])
        line.append((row[target], row["score"]))
        assert row["rank"] == len(line)
    return found


def test_items_for_all_users_are_the_local_models(
    models: tuple[FactorModel, NumpyFactorModel], seen: DataFrame
) -> None:
    model, local = models
    found = lists(model.recommend_items(None, 5, exclude_seen=seen), "user_id", "item_id")
    history: dict[str, list[str]] = {}
    for row in seen.dropna().collect():
        history.setdefault(row["user_id"], []).append(row["item_id"])
    assert len(found) == USERS
    assert len(found["u00"]) == 2
    for user, line in found.items():
        scores = local.score([user] * ITEMS, local.item_ids)
        left = [n for n in range(ITEMS) if local.item_ids[n] not in history.get(user, [])]
        expected = sorted(left, key=lambda n: (-scores[n], n))[:5]
        assert line == [(local.item_ids[n], scores[n]) for n in expected]
        assert line == local.recommend_items(user, 5, exclude_seen=history.get(user, []))


def test_chosen_users_strangers_and_candidates(
    spark: SparkSession, models: tuple[FactorModel, NumpyFactorModel]
) -> None:
    model, local = models
    wanted = spark.createDataFrame([("u03",), ("nobody",), ("u03",), (None,)], "user_id string")
    found = lists(model.recommend_items(wanted, 4), "user_id", "item_id")
    assert found == {user: local.recommend_items(user, 4) for user in ("u03", "nobody")}
    cold = model.recommend_items(wanted, 1).select("user_id", "is_cold_start").collect()
    assert {row["user_id"]: row["is_cold_start"] for row in cold} == {"u03": False, "nobody": True}
    some = ["i03", "i07", "i11"]
    allowed = spark.createDataFrame([(item,) for item in [*some, "unknown"]], "item_id string")
    found = lists(model.recommend_items(wanted, 9, candidates=allowed), "user_id", "item_id")
    assert found["u03"] == local.recommend_items("u03", 9, candidates=some)
    own = spark.createDataFrame(
        [("u03", "i01"), ("u03", "i02"), ("u03", "i02"), ("nobody", "i05")],
        "user_id string, item_id string",
    )
    found = lists(model.recommend_items(wanted, 9, candidates=own), "user_id", "item_id")
    assert found["u03"] == local.recommend_items("u03", 9, candidates=["i01", "i02"])
    assert [item for item, _ in found["nobody"]] == ["i05"]
    left = model.recommend_items(wanted, 9, candidates=own, exclude_seen=own.limit(1))
    assert [item for item, _ in lists(left, "user_id", "item_id")["u03"]] == ["i02"]


def pairs_of(kind: str) -> str:
    return f"user_id {kind}, item_id {kind}, weight double"


def test_ids_of_another_integer_type_are_the_same_ids(spark: SparkSession) -> None:
    pairs = spark.range(40).selectExpr("id % 8 AS user_id", "id % 5 AS item_id", "1.0 AS weight")
    model = fit_als(pairs.distinct(), fixed(rank=2, iterations=1))
    seen = pairs.selectExpr("CAST(user_id AS INT)", "CAST(item_id AS INT)").where("item_id < 4")
    left = lists(model.recommend_items(None, 5, exclude_seen=seen), "user_id", "item_id")
    assert {user: [item for item, _ in line] for user, line in left.items()} == {
        user: [4] for user in range(8)
    }
    foreign = spark.createDataFrame([("abc", "4", 1.0), ("7", "9" * 20, 1.0)], pairs_of("string"))
    with pytest.raises(SchemaError, match=r"the type string, but the ids .* have the type big"):
        model.recommend_items(None, 5, exclude_seen=foreign)
    folded = {
        row["user_id"]: row["n_interactions"] for row in model.fold_in_rows(USER, foreign).collect()
    }
    assert folded == {"abc": 1, "7": 0}


def test_users_for_items_and_similar_rows(
    spark: SparkSession, models: tuple[FactorModel, NumpyFactorModel], seen: DataFrame
) -> None:
    model, local = models
    wanted = spark.createDataFrame([("i03",), ("i04",)], "item_id string")
    found = lists(model.recommend_users(wanted, 3, exclude_seen=seen), "item_id", "user_id")
    for item, line in found.items():
        owners = {row["user_id"] for row in seen.where(F.col("item_id") == item).collect()}
        scores = local.score(local.user_ids, [item] * USERS)
        left = [n for n in range(USERS) if local.user_ids[n] not in owners]
        expected = sorted(left, key=lambda n: (-scores[n], n))[:3]
        assert line == [(local.user_ids[n], scores[n]) for n in expected]
    alike = lists(model.similar_items(wanted, 3), "item_id", "similar_item_id")
    for item in ("i03", "i04"):
        expected_scores = [score for _, score in local.similar_items(item, 3)]
        assert [score for _, score in alike[item]] == pytest.approx(expected_scores, abs=1e-6)
        assert item not in [other for other, _ in alike[item]]
    everyone = lists(model.similar_users(None, 2), "user_id", "similar_user_id")
    assert len(everyone) == USERS
    assert all(user not in dict(line) for user, line in everyone.items())


def test_scores_of_known_and_cold_start_pairs(
    spark: SparkSession, models: tuple[FactorModel, NumpyFactorModel]
) -> None:
    model, local = models
    rows = [("u03", "i04"), ("nobody", "i04"), ("u03", "unknown"), ("nobody", "unknown")]
    pairs = spark.createDataFrame(rows, "user_id string, item_id string")
    found = {(row["user_id"], row["item_id"]): row for row in model.score(pairs).collect()}
    expected = local.score(*map(list, zip(*rows, strict=True)))
    for pair, score in zip(rows, expected, strict=True):
        assert found[pair]["score"] == pytest.approx(float(score))
        assert found[pair]["is_cold_start"] == (pair != ("u03", "i04"))


def test_fold_in_equals_that_of_the_numpy_model(
    spark: SparkSession, models: tuple[FactorModel, NumpyFactorModel]
) -> None:
    model, local = models
    value = model.params.value_column
    rows = [("new", "i01", 4.0), ("new", "i07", 1.0), ("u03", "i02", 5.0), ("odd", "unknown", 5.0)]
    history = spark.createDataFrame(rows, f"user_id string, item_id string, {value} double")
    folded = model.fold_in_rows(USER, history)
    found = {row["user_id"]: row for row in folded.collect()}
    assert {user: row["n_interactions"] for user, row in found.items()} == {
        "new": 2,
        "u03": 1,
        "odd": 0,
    }
    expected = local.fold_in_user({"i01": 4.0, "i07": 1.0})
    assert np.array_equal(np.array(found["new"]["factors"], np.float32), expected.factors)
    assert found["new"]["bias"] == expected.bias
    assert found["odd"]["factors"] is None
    users = history.select("user_id")
    answers = model.fold_in(users=history).recommend_items(users, 3)
    best = lists(answers, "user_id", "item_id")
    assert [item for item, _ in best["new"]] == [i for i, _ in local.recommend_items(expected, 3)]
    assert best["odd"] == local.recommend_items(local.fold_in_user({"unknown": 5.0}), 3)
    assert best["odd"] == local.recommend_items("nobody", 3)
    cold = {row["user_id"] for row in answers.where("is_cold_start").collect()}
    assert cold == {"odd"}
    back = history.select(F.col("item_id"), F.lit("u05").alias("user_id"), value)
    item = model.fold_in_rows(ITEM, back.where("item_id = 'i07'")).collect()[0]
    assert np.allclose(item["factors"], local.fold_in_item({"u05": 1.0}).factors)


def test_invalid_ratings_are_not_folded_in(
    spark: SparkSession, models: tuple[FactorModel, NumpyFactorModel]
) -> None:
    model, value = models[0], models[0].params.value_column
    for wrong in (None, float("nan")):
        rows = [("new", "i01", 4.0), ("new", "i07", wrong)]
        history = spark.createDataFrame(rows, f"user_id string, item_id string, {value} double")
        with pytest.raises(
            PySparkException, match=f"folded in: new, i07.*{value} must be a finite"
        ):
            model.fold_in_rows(USER, history).collect()


def test_ratings_of_users_folded_in_after_the_fit_are_predicted(
    spark: SparkSession, models: tuple[FactorModel, NumpyFactorModel]
) -> None:
    model, local = models
    rows = [("new", "i01", 4.0), ("new", "i07", 1.0), ("odd", "unknown", 5.0)]
    schema = f"user_id string, item_id string, {model.params.value_column} double"
    history = spark.createDataFrame(rows, schema)
    asked = spark.createDataFrame(
        [(user, "i02") for user in ("new", "odd", "u03")], "user_id string, item_id string"
    )
    wanted = RecommendParams(tables=("predicted_ratings",), clip_range=None)
    answers = BatchScoring(model, history, Sides(), wanted, asked)
    if not model.predicts_ratings:
        with pytest.raises(ConfigError, match="predicted_ratings, which the champion does not"):
            answers.tables()
        return
    found = {row.user_id: row for row in answers.tables()["predicted_ratings"].collect()}
    new = local.fold_in_user({"i01": 4.0, "i07": 1.0})
    item = local.item_ids.index("i02")
    score = local.mean + new.bias + local.item_bias[item] + new.factors @ local.item_factors[item]
    assert found["new"].rating == pytest.approx(score, abs=1e-5)
    told = local.score(["odd", "u03"], ["i02", "i02"])
    assert [found["odd"].rating, found["u03"].rating] == pytest.approx(told, abs=1e-5)
    assert {user: row.is_cold_start for user, row in found.items()} == {
        "new": False,
        "odd": True,
        "u03": False,
    }


def test_invalid_queries(models: tuple[FactorModel, NumpyFactorModel], seen: DataFrame) -> None:
    model = models[0]
    for ask in (model.recommend_items, model.recommend_users, model.similar_items):
        with pytest.raises(ParameterError, match="k=0 must be 1 or more"):
            ask(None, 0)
    with pytest.raises(ParameterError, match="k=-1 must be"):
        model.related_users(None, -1)
    with pytest.raises(SchemaError, match="Missing column"):
        model.related_users(seen.drop("user_id"), 3)
    for wrong in ({"candidates": seen.drop("item_id")}, {"exclude_seen": seen.drop("user_id")}):
        with pytest.raises(SchemaError, match="Missing column"):
            model.recommend_items(None, 3, **wrong)
    with pytest.raises(SchemaError, match="Missing column"):
        model.recommend_items(None, 3, candidates=seen, exclude_seen=seen.drop("user_id"))


@pytest.mark.local_only
def test_answers_are_lazy(
    spark: SparkSession, models: tuple[FactorModel, NumpyFactorModel], seen: DataFrame
) -> None:
    model = models[0]
    history = seen.withColumn("rating", F.lit(1.0)).withColumn("weight", F.lit(1.0))

    def ask() -> None:
        model.score(seen)
        model.recommend_items(seen, 3, exclude_seen=seen, candidates=seen)
        model.recommend_users(None, 3)
        model.similar_items(seen, 3)
        model.fold_in(users=history, items=history).recommend_items(None, 3)

    assert executions(spark, ask) == 0


def test_neither_partitions_nor_a_broadcast_show(spark: SparkSession, seen: DataFrame) -> None:
    model, _ = built(spark, "implicit")
    once = model.recommend_items(None, 5, exclude_seen=seen)
    spread = replace(
        model,
        user_factors=model.user_factors.repartition(5),
        item_factors=model.item_factors.repartition(3),
        sizes=None,  # Items of an unknown number are not broadcast.
    )
    none = seen.select("item_id").limit(0)
    again = spread.recommend_items(None, 5, exclude_seen=seen.repartition(4))
    assert once.count() == again.count()
    assert once.exceptAll(again).isEmpty()
    assert all(each.recommend_items(None, 5, candidates=none).isEmpty() for each in (model, spread))


def test_weights_of_interactions(spark: SparkSession) -> None:
    rows = [("2026-01-31", 0.0), ("2026-01-01", 1.0), ("2026-03-01", 7.0), (None, 3.0)]
    frame = spark.createDataFrame(rows, "day string, count double").select(
        time_decay(F.to_timestamp("day"), F.lit("2026-01-31").cast("timestamp"), 15).alias("decay"),
        log_weight(F.col("count"), 2.0).alias("weight"),
        time_decay(F.to_timestamp("day"), F.lit(None).cast("timestamp"), 15).alias("no_now"),
    )
    decays, weights, none = zip(*[tuple(row) for row in frame.collect()], strict=True)
    assert decays == pytest.approx((1.0, 0.25, 1.0, None))
    assert none == (None,) * 4
    assert weights == pytest.approx(tuple(np.log1p([0, 0.5, 3.5, 1.5])))
