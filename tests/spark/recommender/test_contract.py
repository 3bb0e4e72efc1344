"""The contract of every recommender: on Spark and in NumPy side by side, saved and loaded."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pyspark.sql import DataFrame, SparkSession
from tests.support.executions import executions

from matchlake.errors import ParameterError, SchemaError
from matchlake.model_store.numpy import load_numpy
from matchlake.model_store.spark import load_model, save_model
from matchlake.recommender.algorithms import ALGORITHMS
from matchlake.recommender.checkpoint import local_checkpoint
from matchlake.recommender.protocol import (
    FitContext,
    NumpyRecommender,
    Recommender,
    TrainingInputs,
)

PARAMS: dict[str, dict[str, object]] = {
    "als": {"feedback": "explicit", "rank": 3, "iterations": 3, "regularization": 0.1},
    "matchbox": {"rank": 2, "samples": 5, "burn_in": 5, "thinning": 1},
    "ease": {"regularization": 5.0, "value_column": "rating"},
    "slim": {"l1_regularization": 1.0, "l2_regularization": 5.0, "value_column": "rating"},
    "blend": {
        "models": {
            "ease": {"regularization": 5.0, "value_column": "rating"},
            "als": {"feedback": "explicit", "rank": 3, "iterations": 2, "regularization": 0.1},
        },
        "rank_constant": 1.0,
        "validation_fraction": 0.3,
    },
    "popularity": {},
    "bias": {},
}
FOLD_IN = {"fold_in_users", "fold_in_items"}
FACTORS = {"recommend_users", "similar", "related"}
CAPABILITIES = {
    "als": FACTORS | FOLD_IN,
    "matchbox": FACTORS | FOLD_IN | {"features", "uncertainty", "feature_effects"},
    "ease": {"fold_in_users"},
    "slim": {"fold_in_users"},
    "blend": {"fold_in_users"},
    "popularity": set(),
    "bias": {"recommend_users"} | FOLD_IN,
}
"""What each algorithm supports beside `score` and `recommend_items`: pinned, so that no algorithm
passes by refusing."""
SPARK_ONLY = {"feature_effects"}
PREDICTS_RATINGS = {"als", "matchbox", "bias"}

USERS, ITEMS = [f"u{n:02d}" for n in range(14)], [f"i{n}" for n in range(9)]
NEW = {"i0": 5.0, "i3": 1.0, "i5": 4.0}
PAIRS = "user_id string, item_id string"
SCHEMA = f"{PAIRS}, rating double"


@dataclass(frozen=True)
class Case:
    """One fitted algorithm, on Spark and in NumPy, with the interactions of the fit."""

    name: str
    model: Recommender
    local: NumpyRecommender
    interactions: DataFrame
    seen: dict[str, list[str]]

    def frame(self, rows: list[tuple[Any, ...]], schema: str) -> DataFrame:
        return self.interactions.sparkSession.createDataFrame(rows, schema)

    def able(self, capability: str) -> bool:
        return capability in self.model.capabilities


@pytest.fixture(scope="module")
def interactions(spark: SparkSession) -> DataFrame:
    rng = np.random.default_rng(3)
    rows = []
    for user in USERS:
        for item in ITEMS:
            if rng.random() < 0.55 or item == "i0":
                rows.append((user, item, float(rng.integers(1, 6))))
    return spark.createDataFrame(rows, SCHEMA).repartition(2).localCheckpoint()


LONG = {"slim", "blend"}
"""Algorithms whose kernels take long to compile, or that fit others: only in the soak."""


@pytest.fixture(
    scope="module",
    params=[pytest.param(a, marks=[pytest.mark.soak] * (a in LONG)) for a in ALGORITHMS],
)
def case(request: pytest.FixtureRequest, interactions: DataFrame) -> Case:
    algorithm = ALGORITHMS[request.param]
    params = algorithm.params_class().model_validate(PARAMS[request.param])
    inputs, context = TrainingInputs(interactions), FitContext(local_checkpoint)
    model = algorithm.resolve(algorithm.fit)(inputs, params, context)
    seen: dict[str, list[str]] = {}
    for row in interactions.collect():
        seen.setdefault(row["user_id"], []).append(row["item_id"])
    return Case(request.param, model, model.to_numpy(), interactions, seen)


def lists(frame: DataFrame, query: str, target: str) -> dict[str, list[tuple[str, float]]]:
    found: dict[str, list[tuple[str, float]]] = {}
    for row in sorted(frame.collect(), key=lambda row: (row[query], row["rank"])):
        found.setdefault(row[query], []).append((row[target], row["score"]))
    return found


def agree(found: list[tuple[str, float]], expected: list[tuple[str, float]]) -> None:
    assert [score for _, score in found] == pytest.approx([s for _, s in expected], abs=2e-3)
    if len({round(score, 2) for _, score in expected}) == len(expected):
        assert [key for key, _ in found] == [key for key, _ in expected]


class RecommenderContract:
    """What every algorithm must do."""

    def test_capabilities_are_the_pinned_ones(self, case: Case) -> None:
        assert set(case.model.capabilities) == CAPABILITIES[case.name]
        assert set(case.local.capabilities) == CAPABILITIES[case.name] - SPARK_ONLY
        assert case.model.algorithm == case.name
        assert case.model.predicts_ratings == (case.name in PREDICTS_RATINGS)

    def test_repr_is_one_line_with_sizes_and_starts_no_job(
        self, spark: SparkSession, case: Case
    ) -> None:
        texts: list[str] = []
        assert executions(spark, lambda: texts.append(repr(case.model))) == 0
        assert "users=14, items=9" in texts[0]
        assert "\n" not in texts[0]
        assert "DataFrame" not in texts[0]

    def test_score_of_known_and_unknown_pairs_agrees(self, case: Case) -> None:
        pairs = [(user, item) for user in ("u01", "u07", "new") for item in ("i0", "i4", "other")]
        rows = case.model.score(case.frame([(*p, 1) for p in pairs], f"{PAIRS}, n int"))
        assert "is_cold_start" in rows.columns
        assert ("rating_std" in rows.columns) == case.able("uncertainty")
        found = {(row["user_id"], row["item_id"]): row for row in rows.collect()}
        expected = case.local.score(*map(list, zip(*pairs, strict=True)))
        for pair, score in zip(pairs, expected, strict=True):
            assert found[pair]["score"] == pytest.approx(float(score), abs=2e-3)
            assert found[pair]["is_cold_start"] == ("new" in pair or "other" in pair)

    def test_score_with_clip_is_within_the_range(self, case: Case) -> None:
        scored = case.model.score(case.interactions, clip=(2.5, 3.5)).toPandas()["score"]
        assert scored.between(2.5, 3.5).all()

    def test_recommend_items_of_all_users_agrees_and_excludes_seen(self, case: Case) -> None:
        frame = case.model.recommend_items(None, 3, exclude_seen=case.interactions)
        assert frame.columns == ["user_id", "rank", "item_id", "score", "is_cold_start"]
        found = lists(frame, "user_id", "item_id")
        for user in USERS:
            expected = case.local.recommend_items(user, 3, exclude_seen=case.seen[user])
            assert not {item for item, _ in expected} & set(case.seen[user])
            agree(found.get(user, []), expected)

    def test_recommend_items_of_chosen_users_and_candidates_agrees(self, case: Case) -> None:
        users = case.frame([("u03",), ("new",), ("u03",), (None,)], "user_id string")
        some = ["i1", "i2", "i5"]
        candidates = case.frame([(item,) for item in [*some, "other"]], "item_id string")
        frame = case.model.recommend_items(users, 9, candidates=candidates)
        rows = {row["user_id"]: row["is_cold_start"] for row in frame.collect()}
        assert rows == {"u03": False, "new": True}
        found = lists(frame, "user_id", "item_id")
        for user in rows:
            assert {item for item, _ in found[user]} == set(some)
            agree(found[user], case.local.recommend_items(user, 9, candidates=some))
        own = case.frame([("u03", "i1"), ("u03", "i2"), ("u03", "i2")], PAIRS)
        seen = case.frame([("u03", "i2")], PAIRS)
        left = case.model.recommend_items(users, 9, candidates=own, exclude_seen=seen)
        assert [row["item_id"] for row in left.where("user_id = 'u03'").collect()] == ["i1"]

    def test_recommend_users_agrees_or_is_refused(self, case: Case) -> None:
        if not case.able("recommend_users"):
            refused(lambda: case.model.recommend_users(None, 2))
            refused(lambda: case.local.recommend_users("i1", 2))
            return
        items = case.frame([("i1",), ("i4",)], "item_id string")
        found = lists(case.model.recommend_users(items, 4), "item_id", "user_id")
        for item in ("i1", "i4"):
            agree(found[item], case.local.recommend_users(item, 4))

    def test_similar_rows_agree_or_are_refused(self, case: Case) -> None:
        if not case.able("similar"):
            refused(lambda: case.model.similar_items(None, 2))
            refused(lambda: case.local.similar_users("u01", 2))
            return
        items = case.frame([("i1",), ("other",)], "item_id string")
        for metric in ("cosine", "co_rating"):
            frame = case.model.similar_items(items, 3, metric=metric)
            assert frame.columns == ["item_id", "rank", "similar_item_id", "score"]
            found = lists(frame, "item_id", "similar_item_id")
            assert set(found) == {"i1"}
            agree(found["i1"], case.local.similar_items("i1", 3, metric=metric))
        users = lists(case.model.similar_users(None, 2), "user_id", "similar_user_id")
        agree(users["u02"], case.local.similar_users("u02", 2))

    def test_related_rows_agree_or_are_refused(self, case: Case) -> None:
        if not case.able("related"):
            refused(lambda: case.model.related_items(None, 2))
            refused(lambda: case.local.related_users("u01", 2))
            return
        items = case.frame([("i1",)], "item_id string")
        found = lists(case.model.related_items(items, 3).lists, "item_id", "related_item_id")
        agree(found["i1"], case.local.related_items("i1", 3))
        users = lists(case.model.related_users(None, 2).lists, "user_id", "related_user_id")
        agree(users["u02"], case.local.related_users("u02", 2))

    def test_fold_in_gives_a_model_that_knows_the_new_rows(self, case: Case) -> None:
        for side, key in (("users", "user_id"), ("items", "item_id")):
            history = case.frame(
                [
                    ("new", item, rating)
                    if side == "users"
                    else (USERS[int(item[1])], "new", rating)
                    for item, rating in NEW.items()
                ],
                SCHEMA,
            )
            given = {
                item if side == "users" else USERS[int(item[1])]: rating
                for item, rating in NEW.items()
            }
            if not case.able(f"fold_in_{side}"):
                refused(lambda: case.model.fold_in(**{side: history}))  # noqa: B023
                refused(lambda: case.local.fold_in(**{side: {"new": given}}))  # noqa: B023
                continue
            wide = case.model.fold_in(**{side: history})
            local = case.local.fold_in(**{side: {"new": given}})
            assert type(wide) is type(case.model)
            assert type(local) is type(case.local)
            known = {row[key] for row in wide.known(int(side == "items")).collect()}
            assert known == {*(USERS if side == "users" else ITEMS), "new"}
            pair = ("new", "i4") if side == "users" else ("u04", "new")
            row = wide.score(case.frame([pair], PAIRS)).collect()[0]
            assert not row["is_cold_start"]
            assert row["score"] == pytest.approx(
                float(local.score(*[[i] for i in pair])[0]), abs=2e-3
            )
            if side == "users":
                asked = case.frame([("new",), ("u03",)], "user_id string")
                found = lists(wide.recommend_items(asked, 4), "user_id", "item_id")
                agree(found["new"], local.recommend_items("new", 4))
                agree(found["u03"], case.local.recommend_items("u03", 4))

    def test_a_saved_model_is_the_fitted_one(
        self, spark: SparkSession, case: Case, tmp_path: Path
    ) -> None:
        save_model(case.model, tmp_path / "model")
        loaded, served = load_model(tmp_path / "model", spark), load_numpy(tmp_path / "model")
        assert type(loaded) is type(case.model)
        assert type(served) is type(case.local)
        assert repr(loaded) == repr(case.model)
        one, two = (
            model.score(case.interactions).orderBy("user_id", "item_id").toPandas()["score"]
            for model in (case.model, loaded)
        )
        np.testing.assert_array_equal(one, two)
        for user in ("u03", "new"):
            assert served.recommend_items(user, 5) == case.local.recommend_items(user, 5)
        assert served.trained_ids == (frozenset(USERS), frozenset(ITEMS))

    @pytest.mark.local_only
    def test_verbs_are_lazy(self, spark: SparkSession, case: Case) -> None:
        def ask() -> None:
            case.model.score(case.interactions)
            case.model.recommend_items(case.interactions, 3, exclude_seen=case.interactions)
            case.model.known(0)
            if case.able("fold_in_users"):
                case.model.fold_in(users=case.interactions)
            if case.able("similar"):
                case.model.similar_items(None, 3)

        assert executions(spark, ask) == 0

    def test_wrong_arguments_are_named(self, case: Case) -> None:
        with pytest.raises(ParameterError, match="k=0 must be 1 or more"):
            case.model.recommend_items(None, 0)
        with pytest.raises(ParameterError, match="k=0 must be 1 or more"):
            case.local.recommend_items("u01", 0)
        with pytest.raises(SchemaError, match="item_id"):
            case.model.score(case.interactions.drop("item_id"))


def refused(ask: Callable[[], object]) -> None:
    with pytest.raises(ParameterError, match=r"does not support .*; it supports score"):
        ask()


class TestEveryAlgorithm(RecommenderContract):
    """The contract, once for each entry of the registry."""


def test_the_pinned_table_has_every_algorithm() -> None:
    assert set(CAPABILITIES) == set(PARAMS) == set(ALGORITHMS)
