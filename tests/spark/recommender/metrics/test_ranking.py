import math

import pytest
from hypothesis import strategies as st
from pyspark.sql import DataFrame, SparkSession
from tests.support import metric_oracles
from tests.support.cases import many
from tests.support.executions import executions

from matchlake.errors import SchemaError
from matchlake.recommender.metrics import (
    RankingParams,
    ranking_metrics,
    ranking_metrics_by_user,
)

SCORED = "user_id string, item_id string, score double"
TRUTH = "user_id string, item_id string, rating double"

ITEMS = st.sampled_from([f"i{n}" for n in range(12)])
SCORES = st.one_of(st.none(), st.just(math.nan), st.sampled_from([-1.0, 0.0, 0.5, 0.5, 2.0]))
RATINGS = st.one_of(st.none(), st.sampled_from([-1.0, 0.0, 1.0, 2.5, 4.0, 5.0]))
CASES = st.tuples(
    st.lists(st.tuples(ITEMS, SCORES), max_size=12, unique_by=lambda entry: entry[0]),
    st.lists(st.tuples(ITEMS, RATINGS), min_size=1, max_size=9),
)


def by_user(frame: DataFrame) -> dict[tuple[str, str, int], float | None]:
    return {(row.user_id, row.metric, row.k): row.value for row in frame.collect()}


def test_known_answers(spark: SparkSession) -> None:
    # ann's list is b a c d e; b and e are relevant, and so is f, which was not recommended.
    listed = [("ann", item, 5.0 - i) for i, item in enumerate("bacde")]
    # bob's true item comes third; cid got no list; dan has a list but no truth.
    listed += [("bob", "x", 3.0), ("bob", "y", 2.0), ("bob", "z", 1.0), ("dan", "x", 1.0)]
    truth = [("ann", "b", 5.0), ("ann", "e", 3.0), ("ann", "f", 4.0), ("bob", "z", 4.0)]
    truth += [("cid", "x", 4.0)]
    got = by_user(
        ranking_metrics_by_user(
            spark.createDataFrame(listed, SCORED),
            spark.createDataFrame(truth, TRUTH),
            RankingParams(ks=(2, 5), gain="exponential"),
        )
    )
    # Gains 2^5-1 = 31 at place 1 and 2^3-1 = 7 at place 5; the best order is 31, 15, 7.
    log2 = math.log2
    want = {
        ("ann", "precision", 2): 1 / 2,
        ("ann", "precision", 5): 2 / 5,
        ("ann", "recall", 2): 1 / 3,
        ("ann", "recall", 5): 2 / 3,
        ("ann", "hit_rate", 2): 1.0,
        ("ann", "hit_rate", 5): 1.0,
        ("ann", "map", 2): (1 / 1) / 2,
        ("ann", "map", 5): (1 / 1 + 2 / 5) / 3,
        ("ann", "mrr", 2): 1.0,
        ("ann", "mrr", 5): 1.0,
        ("ann", "ndcg", 2): 31 / (31 + 15 / log2(3)),
        ("ann", "ndcg", 5): (31 + 7 / log2(6)) / (31 + 15 / log2(3) + 7 / log2(4)),
        ("bob", "precision", 2): 0.0,
        ("bob", "precision", 5): 1 / 5,
        ("bob", "recall", 2): 0.0,
        ("bob", "recall", 5): 1.0,
        ("bob", "hit_rate", 2): 0.0,
        ("bob", "hit_rate", 5): 1.0,
        ("bob", "map", 2): 0.0,
        ("bob", "map", 5): 1 / 3,
        ("bob", "mrr", 2): 0.0,
        ("bob", "mrr", 5): 1 / 3,
        ("bob", "ndcg", 2): 0.0,
        ("bob", "ndcg", 5): 1 / log2(4),
    }
    names = ("precision", "recall", "hit_rate", "map", "mrr", "ndcg")
    want |= {("cid", name, k): 0.0 for name in names for k in (2, 5)}
    assert got == pytest.approx(want, abs=1e-12)


@pytest.mark.parametrize(
    ("gain", "start"), [("binary", None), ("binary", 2.5), ("linear", 4.0), ("exponential", None)]
)
def test_each_user_agrees_with_the_oracle(
    spark: SparkSession, gain: str, start: float | None
) -> None:
    cases = many(CASES, 300)
    listed = [(f"u{n}", item, score) for n, (lists, _) in enumerate(cases) for item, score in lists]
    truth = [(f"u{n}", item, value) for n, (_, true) in enumerate(cases) for item, value in true]
    params = RankingParams(ks=(1, 3, 10), gain=gain, relevant_from=start)
    frames = spark.createDataFrame(listed, SCORED), spark.createDataFrame(truth, TRUTH)
    got = by_user(ranking_metrics_by_user(*frames, params))
    assert len(got) == len(cases) * 6 * len(params.ks)
    wrong = []
    for n, (lists, true) in enumerate(cases):
        for k in params.ks:
            want = metric_oracles.ranking(lists, true, k, gain=gain, start=start)
            have = {name: got[f"u{n}", name, k] for name in want}
            if have != pytest.approx(want, abs=1e-12):
                wrong.append((lists, true, k, have, want))
    assert wrong == []
    for row in ranking_metrics(*frames, params).collect():
        values = [v for (_, name, k), v in got.items() if (name, k) == (row.metric, row.k)]
        judged = [v for v in values if v is not None]
        assert (row.n_samples, row.n_skipped) == (len(judged), len(values) - len(judged))
        assert row.value == pytest.approx(sum(judged) / len(judged))


def test_ties_go_to_the_smaller_id_and_rank_comes_before_score(spark: SparkSession) -> None:
    truth = spark.createDataFrame([("u", "b", 1.0)], TRUTH)
    tied = spark.createDataFrame([("u", "b", 1.0), ("u", "a", 1.0)], SCORED)
    ranked = spark.createDataFrame([("u", "b", 1.0, 7), ("u", "a", 2.0, 9)], SCORED + ", rank int")
    mrr = {
        name: by_user(ranking_metrics_by_user(frame, truth))["u", "mrr", 10]
        for name, frame in {"tied": tied, "ranked": ranked}.items()
    }
    assert mrr == {"tied": 1 / 2, "ranked": 1.0}


def test_integer_ids_need_neither_value_nor_string(spark: SparkSession) -> None:
    listed = spark.createDataFrame([(1, 10, 1), (1, 9, 2)], "user_id long, item_id int, rank int")
    truth = spark.createDataFrame([(1, 9), (1, 9)], "user_id long, item_id int")
    figures = {r.metric: r.value for r in ranking_metrics(listed, truth).collect()}
    assert figures["mrr"] == 1 / 2
    assert figures["recall"] == 1.0


def test_no_user_to_evaluate_gives_no_value(spark: SparkSession) -> None:
    listed = spark.createDataFrame([("u", "a", 1.0)], SCORED)
    truth = spark.createDataFrame([("u", "a", 1.0), ("v", "a", None)], TRUTH)
    rows = ranking_metrics(listed, truth, RankingParams(relevant_from=4)).collect()
    assert {(row.value, row.n_samples, row.n_skipped) for row in rows} == {(None, 0, 2)}


def test_missing_columns_are_named(spark: SparkSession) -> None:
    listed = spark.createDataFrame([("u", "a")], "user_id string, item_id string")
    truth = spark.createDataFrame([("u", "a", 1.0)], TRUTH)
    with pytest.raises(SchemaError, match=r"in recommendations: score\. Available: user_id"):
        ranking_metrics(listed, truth)
    scored = spark.createDataFrame([("u", "a", 1.0)], SCORED)
    with pytest.raises(SchemaError, match="in truth: weight"):
        ranking_metrics(scored, truth, RankingParams(gain="linear", gain_column="weight"))


@pytest.mark.local_only
def test_all_metrics_and_ks_are_one_execution(spark: SparkSession) -> None:
    listed = spark.createDataFrame([("u", "a", 1.0)], SCORED)
    truth = spark.createDataFrame([("u", "a", 1.0)], TRUTH)
    frames: list[DataFrame] = []
    params = RankingParams(ks=(1, 2, 3))
    assert executions(spark, lambda: frames.append(ranking_metrics(listed, truth, params))) == 0
    assert executions(spark, frames[0].collect) == 1
