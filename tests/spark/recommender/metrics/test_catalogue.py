import math

import numpy as np
import pytest
from hypothesis import strategies as st
from pyspark.sql import SparkSession
from tests.support import metric_oracles
from tests.support.cases import many
from tests.support.executions import executions

from matchlake.recommender.metrics import (
    RankingParams,
    catalogue_metrics,
    item_catalogue,
    ranking_metrics,
)

LISTED = "user_id string, item_id string, rank int"
TRAIN = "user_id string, item_id string"
VECTORS = "item_id string, factors array<float>"

Figures = dict[tuple[str, int], tuple[float | None, int, int]]


def figures(frame: object) -> Figures:
    return {(r.metric, r.k): (r.value, r.n_samples, r.n_skipped) for r in frame.collect()}  # type: ignore[attr-defined]


def test_known_answers(spark: SparkSession) -> None:
    # Four users: all met a, two met b, one met c, and one met d twice.
    met = [(user, "a") for user in "wxyz"] + [("w", "b"), ("x", "b"), ("y", "c"), ("z", "d")]
    train = spark.createDataFrame([*met, ("z", "d")], TRAIN)
    vectors = spark.createDataFrame(
        [("a", [1.0, 0.0]), ("b", [0.0, 5.0]), ("c", [3.0, 0.0]), ("d", [0.0, 0.0])], VECTORS
    )
    # y's second item is new: no popularity, no vector.
    listed = [("x", "c", 1), ("x", "b", 2), ("x", "a", 3), ("y", "b", 1), ("y", "new", 2)]
    got = figures(
        catalogue_metrics(
            spark.createDataFrame([*listed, ("z", "new", 1)], LISTED),
            item_catalogue(train, vectors),
            RankingParams(ks=(1, 3)),
        )
    )
    assert got == {
        ("coverage", 1): (2 / 4, 4, 0),
        ("coverage", 3): (3 / 4, 4, 0),
        # c has 2 bits, b 1, a 0.
        ("novelty", 1): (pytest.approx((2 + 1) / 2), 2, 1),
        ("novelty", 3): (pytest.approx(((2 + 1 + 0) / 3 + 1) / 2), 2, 1),
        ("diversity", 1): (None, 0, 3),
        # Of x's pairs c-b and b-a are at right angles, c-a is the same direction.
        ("diversity", 3): (pytest.approx((1 + 1 + 0) / 3), 1, 2),
    }


def test_lists_agree_with_the_oracle(spark: SparkSession) -> None:
    rng = np.random.default_rng(3)
    vectors = {f"i{n}": rng.normal(size=4).astype(np.float32) for n in range(8)}
    vectors["i8"] = np.zeros(4, dtype=np.float32)
    counts = {item: n + 1 for n, item in enumerate(vectors)}
    met = [(f"t{u}", item) for item, count in counts.items() for u in range(count)]
    catalogue = item_catalogue(
        spark.createDataFrame(met, TRAIN),
        spark.createDataFrame([(i, v.tolist()) for i, v in vectors.items()], VECTORS),
    )
    items = st.sampled_from(sorted(vectors))
    lists = many(st.lists(items, unique=True, min_size=1, max_size=9), 100)
    listed = [(f"u{n}", i, place) for n, top in enumerate(lists) for place, i in enumerate(top, 1)]
    got = figures(
        catalogue_metrics(
            spark.createDataFrame(listed, LISTED), catalogue, RankingParams(ks=(2, 5))
        )
    )
    for k in (2, 5):
        tops = [top[:k] for top in lists]
        bits = [np.mean([-math.log2(counts[i] / len(vectors)) for i in top]) for top in tops]
        spread = [metric_oracles.diversity([vectors[i].astype(float) for i in t]) for t in tops]
        spread = [value for value in spread if value is not None]
        assert got["novelty", k] == (pytest.approx(np.mean(bits)), len(lists), 0)
        missing = len(lists) - len(spread)
        assert missing > 0
        assert got["diversity", k] == (pytest.approx(np.mean(spread)), len(spread), missing)
        assert got["coverage", k] == (len(set().union(*tops)) / len(vectors), len(vectors), 0)


@pytest.mark.local_only
def test_with_the_ranking_metrics_it_is_one_execution(spark: SparkSession) -> None:
    listed = spark.createDataFrame([("u", "a", 1)], LISTED)
    pairs = spark.createDataFrame([("u", "a")], TRAIN)
    both = ranking_metrics(listed, pairs).unionByName(
        catalogue_metrics(listed, item_catalogue(pairs))
    )
    assert executions(spark, both.collect) == 1
