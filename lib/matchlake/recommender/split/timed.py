"""Splits by time: one cutoff for all, or the latest events of each user."""

from datetime import datetime

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from matchlake.errors import ParameterError
from matchlake.recommender.columns import require_columns
from matchlake.recommender.split.parts import (
    PLACE,
    PLACES,
    draw,
    fraction_of,
    split_where,
    with_places,
)
from matchlake.recommender.split.result import Split, check_fraction
from matchlake.schemas import EVENT_TIME, ITEM_ID, USER_ID

_AT, _ROWS, _WANTED, _UP_TO, _CUT = "_at", "_rows", "_wanted", "_up_to", "_cut"


def split_from(interactions: DataFrame, cutoff: datetime) -> Split:
    """The test part has all rows from `cutoff` (with a time zone) on."""
    require_columns(interactions, (EVENT_TIME,), "interactions")
    if cutoff.utcoffset() is None:
        raise ParameterError(f"cutoff {cutoff} has no time zone; add one, such as UTC.")
    return split_where(interactions, F.col(EVENT_TIME) >= F.lit(cutoff))


def split_time(interactions: DataFrame, test_fraction: float = 0.2) -> Split:
    """Splits at one cutoff: the test part has the latest rows, up to `test_fraction` of them.

    Rows with equal times stay together. So the test part has at most `test_fraction` (rounded half
    up) of the rows with a time, and less if many rows share the time of the cutoff. The split is
    exact and lazy. The plan reads the times three times: first by the hour, then within one hour.
    """
    require_columns(interactions, (EVENT_TIME,), "interactions")
    check_fraction(test_fraction)
    return _split_after(interactions, _last_train_moment(interactions, test_fraction))


def split_user_time(interactions: DataFrame, test_fraction: float = 0.2, *, seed: int = 0) -> Split:
    """The test part has the latest `test_fraction` of each user's events, never the oldest one."""
    check_fraction(test_fraction)
    return _split_latest(interactions, fraction_of(F.col(PLACES), test_fraction), seed)


def split_last_n(interactions: DataFrame, last_n: int = 1, *, seed: int = 0) -> Split:
    """The test part has each user's `last_n` latest events; the oldest one is for training."""
    if last_n < 1:
        raise ParameterError(f"last_n is {last_n}; it must be at least 1.")
    return _split_latest(interactions, F.lit(last_n), seed)


def _split_latest(interactions: DataFrame, n_test: Column, seed: int) -> Split:
    require_columns(interactions, (USER_ID, ITEM_ID, EVENT_TIME), "interactions")
    order = [F.asc_nulls_first(EVENT_TIME), draw(seed, "tie", USER_ID, ITEM_ID), F.col(ITEM_ID)]
    placed = with_places(interactions, [USER_ID], order)
    first_of_test = F.col(PLACES) - F.least(n_test, F.col(PLACES) - 1)
    return split_where(placed, F.col(PLACE) > first_of_test, interactions.columns)


def _split_after(interactions: DataFrame, moment: DataFrame) -> Split:
    known = interactions.crossJoin(F.broadcast(moment))
    return split_where(known, F.col(EVENT_TIME) > F.col(_CUT), interactions.columns)


def _last_train_moment(interactions: DataFrame, test_fraction: float) -> DataFrame:
    """Returns one row with `_cut`, the cutoff; null if no row has a time.

    The cutoff is a quantile, computed in two steps. Spark's exact quantile would need all distinct
    times in one task, and an approximate quantile depends on the partitions.
    """
    times = interactions.select(F.col(EVENT_TIME).alias(_AT)).where(F.col(_AT).isNotNull())
    hours = times.groupBy(F.date_trunc("hour", _AT).alias(_AT)).agg(F.count("*").alias(_ROWS))
    rows = F.sum(_ROWS)
    # At least one row stays in the training part.
    requested = hours.agg(F.least(fraction_of(rows, test_fraction), rows - 1).alias(_WANTED))
    hour = _edge(hours.crossJoin(F.broadcast(requested)))
    within = times.join(
        F.broadcast(hour.select(F.col(_AT).alias("_hour"), _WANTED)),
        F.date_trunc("hour", _AT) == F.col("_hour"),
    )
    moment = _edge(within.groupBy(_WANTED, _AT).agg(F.count("*").alias(_ROWS)))
    return moment.agg(F.max(_AT).alias(_CUT))


def _edge(counts: DataFrame) -> DataFrame:
    """Returns the latest `_at` at which more than `_wanted` rows are counted, from the latest row.

    Reads `_at`, `_rows` and `_wanted` (equal in every row). The result is one row with `_at` and
    the rest of `_wanted`.
    """
    latest_first = Window.partitionBy(_WANTED).orderBy(F.desc(_AT))
    running = latest_first.rowsBetween(Window.unboundedPreceding, Window.currentRow)
    later = F.col(_UP_TO) - F.col(_ROWS)
    return (
        counts.withColumn(_UP_TO, F.sum(_ROWS).over(running))
        .where((F.col(_UP_TO) > F.col(_WANTED)) & (later <= F.col(_WANTED)))
        .select(_AT, (F.col(_WANTED) - later).alias(_WANTED))
    )
