"""What every kind of split owes: all rows once, and the same parts however the rows lie."""

from collections import Counter
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from tests.support.executions import executions

from matchlake.errors import SchemaError
from matchlake.recommender.split import Split, SplitParams, split

SCHEMA = "user_id string, item_id string, rating double, event_time timestamp"
START = datetime(2024, 1, 1, tzinfo=UTC)

KINDS = [
    SplitParams(kind="random", test_fraction=0.3),
    SplitParams(kind="time", test_fraction=0.3),
    SplitParams(kind="time", cutoff=START + timedelta(hours=30)),
    SplitParams(kind="user_time", test_fraction=0.3),
    SplitParams(kind="last_n", last_n=2),
    SplitParams(kind="cold_users", test_fraction=0.3),
    SplitParams(kind="cold_items", test_fraction=0.3),
    SplitParams(kind="recommender", training_users=0.3, cold_users=0.2, cold_items=0.2),
]
each_kind = pytest.mark.parametrize(
    "params", KINDS, ids=lambda params: f"{params.kind}{'_from' if params.cutoff else ''}"
)

Rows = Counter[tuple[object, ...]]


@pytest.fixture(scope="module")
def interactions(spark: SparkSession) -> DataFrame:
    """600 rows with ties in time, rows without a time, and rows that come more than once."""
    rng = np.random.default_rng(5)
    rows = [
        (
            f"u{rng.integers(40)}",
            f"i{rng.integers(30)}",
            float(rng.integers(1, 6)),
            None if rng.random() < 0.03 else START + timedelta(minutes=60 * int(rng.integers(50))),
        )
        for _ in range(500)
    ]
    return spark.createDataFrame([*rows, *rows[:100]], SCHEMA)


def parts(split_where: Split) -> tuple[Rows, Rows]:
    """Both parts from one Spark job."""
    both = split_where.train.withColumn("part", F.lit(0)).unionByName(
        split_where.test.withColumn("part", F.lit(1))
    )
    rows = both.collect()
    train, test = (Counter(tuple(row)[:-1] for row in rows if row.part == part) for part in (0, 1))
    return train, test


@each_kind
def test_all_rows_come_once_and_alike_however_they_lie(
    interactions: DataFrame, params: SplitParams
) -> None:
    train, test = parts(split(interactions, params))
    assert train
    assert test
    assert train + test == Counter(tuple(row) for row in interactions.collect())
    elsewhere = interactions.orderBy("rating", "item_id").repartition(5, "rating")
    assert parts(split(elsewhere, params)) == (train, test)
    # Rows alike in ids and time are never torn apart.
    assert not {row[:2] + row[3:] for row in train} & {row[:2] + row[3:] for row in test}


@each_kind
def test_the_seed_decides_wherever_chance_does(
    interactions: DataFrame, params: SplitParams
) -> None:
    other = params.model_copy(update={"seed": 1})
    same = parts(split(interactions, params)) == parts(split(interactions, other))
    assert same == (params.kind == "time")


@each_kind
@pytest.mark.local_only
def test_a_split_is_lazy(spark: SparkSession, interactions: DataFrame, params: SplitParams) -> None:
    assert executions(spark, lambda: split(interactions, params)) == 0


def test_missing_columns_are_named(interactions: DataFrame) -> None:
    with pytest.raises(SchemaError, match=r"in interactions: event_time"):
        split(interactions.drop("event_time"), SplitParams(kind="last_n"))
