from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import strategies as st
from pyspark.sql import DataFrame, SparkSession
from tests.support.cases import many

from matchlake.errors import ParameterError
from matchlake.recommender.split import (
    split_from,
    split_last_n,
    split_time,
    split_user_time,
)

SCHEMA = "user_id string, item_id string, event_time timestamp"
START = datetime(2024, 1, 1, tzinfo=UTC)


def at(spark: SparkSession, minutes: list[int | None]) -> DataFrame:
    """One row a minute given, items named after their places."""
    rows = [
        ("u", f"i{n}", None if m is None else START + timedelta(minutes=m))
        for n, m in enumerate(minutes)
    ]
    return spark.createDataFrame(rows, SCHEMA)


def items(frame: DataFrame) -> list[str]:
    return sorted(row.item_id for row in frame.collect())


def test_one_moment_for_all(spark: SparkSession) -> None:
    # Ten rows, the latest three over two hours: half past eight, and nine twice.
    rows = at(spark, [0, 60, 120, 180, 240, 300, 360, 510, 540, 540])
    assert items(split_time(rows, 0.3).test) == ["i7", "i8", "i9"]
    assert items(split_time(rows, 0.2).test) == ["i8", "i9"]
    # One row is asked for, and the latest instant has two: it stays in train, whole.
    assert items(split_time(rows, 0.1).test) == []


def test_within_one_hour_and_without_a_time(spark: SparkSession) -> None:
    rows = at(spark, [5, 4, 3, 2, 1, None, None])
    assert items(split_time(rows, 0.4).test) == ["i0", "i1"]
    assert items(split_time(rows, 0.99).test) == ["i0", "i1", "i2", "i3"]
    assert items(split_time(at(spark, [None]), 0.5).train) == ["i0"]


def test_the_fraction_holds_for_any_times(spark: SparkSession) -> None:
    """Held against the definition: the most whole instants, from the latest, within the share."""
    for case, minutes in enumerate(many(st.lists(st.integers(0, 200), min_size=1), 8)):
        share = 0.1 + 0.1 * case
        wanted = min(int(share * len(minutes) + 0.5), len(minutes) - 1)
        taken = 0
        for _, rows in sorted(Counter(minutes).items(), reverse=True):
            if taken + rows > wanted:
                break
            taken += rows
        edge = sorted(minutes, reverse=True)[:taken]
        got = [row.event_time for row in split_time(at(spark, minutes), share).test.collect()]
        zone = None if not got else got[0].tzinfo
        want = [START.astimezone().replace(tzinfo=zone) + timedelta(minutes=m) for m in edge]
        assert sorted(got) == sorted(want)


def test_from_a_moment_on(spark: SparkSession) -> None:
    rows = at(spark, [0, 59, 60, 61, None])
    split_where = split_from(rows, START + timedelta(hours=1))
    assert (items(split_where.train), items(split_where.test)) == (["i0", "i1", "i4"], ["i2", "i3"])
    with pytest.raises(ParameterError, match="no time zone"):
        split_from(rows, datetime(2024, 1, 1))


def test_each_users_latest(spark: SparkSession) -> None:
    rows = [
        (user, f"{user}{n}", START + timedelta(minutes=n))
        for user, count in {"a": 1, "b": 2, "c": 5, "d": 13}.items()
        for n in range(count)
    ]
    frame = spark.createDataFrame(rows, SCHEMA)
    # Half of 1 is rounded up to 1, but a user's oldest stays; half of 5 to 3, of 13 to 7.
    assert items(split_user_time(frame, 0.5).test) == sorted(
        ["b1", "c2", "c3", "c4", "d6", "d7", "d8", "d9", "d10", "d11", "d12"]
    )
    assert items(split_last_n(frame, 3).test) == ["b1", "c2", "c3", "c4", "d10", "d11", "d12"]


def test_an_event_that_comes_twice_counts_once(spark: SparkSession) -> None:
    twice = [("u", "x", START), ("u", "x", START)]
    later = ("u", "y", START + timedelta(hours=1))
    split_where = split_last_n(spark.createDataFrame([*twice, later, later], SCHEMA), 1)
    assert (items(split_where.train), items(split_where.test)) == (["x", "x"], ["y", "y"])
    assert items(split_last_n(spark.createDataFrame(twice, SCHEMA), 1).train) == ["x", "x"]


def test_a_row_without_a_time_is_the_oldest(spark: SparkSession) -> None:
    assert items(split_last_n(at(spark, [None, 1, 2]), 2).test) == ["i1", "i2"]


def test_shares_and_counts_are_checked(spark: SparkSession) -> None:
    rows = at(spark, [0])
    with pytest.raises(ParameterError, match=r"test_fraction is 1.0"):
        split_user_time(rows, 1.0)
    with pytest.raises(ParameterError, match="last_n is 0"):
        split_last_n(rows, 0)
