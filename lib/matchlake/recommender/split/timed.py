"""Splits by time: one moment for all, or each user's latest events."""

from datetime import datetime

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from matchlake.errors import ParameterError
from matchlake.recommender.columns import require_columns
from matchlake.recommender.split.parts import (
    PLACE,
    PLACES,
    Split,
    check_share,
    draw,
    share_of,
    split_where,
    with_places,
)
from matchlake.schemas import EVENT_TIME, ITEM_ID, USER_ID

_AT, _ROWS, _WANTED, _UP_TO, _CUT = "_at", "_rows", "_wanted", "_up_to", "_cut"


def split_from(interactions: DataFrame, cutoff: datetime) -> Split:
    """Test is every row from `cutoff` (with a time zone) on; a row without a time is train."""
    require_columns(interactions, (EVENT_TIME,), "interactions")
    if cutoff.utcoffset() is None:
        raise ParameterError(f"cutoff {cutoff} has no time zone; add one, such as UTC.")
    return split_where(interactions, F.col(EVENT_TIME) >= F.lit(cutoff))


def split_time(interactions: DataFrame, test_share: float = 0.2) -> Split:
    """One moment for all: test is the latest rows, as many whole instants as `test_share` admits.

    Rows of one instant stay together, so the test part holds at most the share (rounded half up)
    of the rows that have a time, and less where many fall on the instant at the edge. Exact, and
    still lazy: the plan reads the times three times, first by the hour, then within one hour.
    """
    require_columns(interactions, (EVENT_TIME,), "interactions")
    check_share(test_share)
    return _cut_after(interactions, _last_train_moment(interactions, test_share))


def split_user_time(interactions: DataFrame, test_share: float = 0.2, *, seed: int = 0) -> Split:
    """Test is the latest `test_share` of each user's events; a user's oldest is always train."""
    check_share(test_share)
    return _split_latest(interactions, share_of(F.col(PLACES), test_share), seed)


def split_last_n(interactions: DataFrame, last_n: int = 1, *, seed: int = 0) -> Split:
    """Test is each user's `last_n` latest events; a user's oldest is always train."""
    if last_n < 1:
        raise ParameterError(f"last_n is {last_n}; it is 1 or more.")
    return _split_latest(interactions, F.lit(last_n), seed)


def _split_latest(interactions: DataFrame, wanted: Column, seed: int) -> Split:
    require_columns(interactions, (USER_ID, ITEM_ID, EVENT_TIME), "interactions")
    order = [F.asc_nulls_first(EVENT_TIME), draw(seed, "tie", USER_ID, ITEM_ID), F.col(ITEM_ID)]
    placed = with_places(interactions, [USER_ID], order)
    first_of_test = F.col(PLACES) - F.least(wanted, F.col(PLACES) - 1)
    return split_where(placed, F.col(PLACE) > first_of_test, interactions.columns)


def _cut_after(interactions: DataFrame, moment: DataFrame) -> Split:
    known = interactions.crossJoin(F.broadcast(moment))
    return split_where(known, F.col(EVENT_TIME) > F.col(_CUT), interactions.columns)


def _last_train_moment(interactions: DataFrame, test_share: float) -> DataFrame:
    """One row `_cut`: null when no row has a time.

    A quantile in two steps, because an exact one would hold every distinct time in one task and
    an approximate one depends on how the rows are partitioned.
    """
    times = interactions.select(F.col(EVENT_TIME).alias(_AT)).where(F.col(_AT).isNotNull())
    hours = times.groupBy(F.date_trunc("hour", _AT).alias(_AT)).agg(F.count("*").alias(_ROWS))
    rows = F.sum(_ROWS)
    # One row at least stays in train, however large the share.
    wanted = hours.agg(F.least(share_of(rows, test_share), rows - 1).alias(_WANTED))
    hour = _edge(hours.crossJoin(F.broadcast(wanted)))
    within = times.join(
        F.broadcast(hour.select(F.col(_AT).alias("_hour"), _WANTED)),
        F.date_trunc("hour", _AT) == F.col("_hour"),
    )
    moment = _edge(within.groupBy(_WANTED, _AT).agg(F.count("*").alias(_ROWS)))
    return moment.agg(F.max(_AT).alias(_CUT))


def _edge(counts: DataFrame) -> DataFrame:
    """The latest `_at` that no longer fits in `_wanted` rows, counted from the latest backwards.

    Reads `_at`, `_rows` and `_wanted` (alike in every row), returns one row of `_at` and the part
    of `_wanted` that is left for it.
    """
    latest_first = Window.partitionBy(_WANTED).orderBy(F.desc(_AT))
    running = latest_first.rowsBetween(Window.unboundedPreceding, Window.currentRow)
    later = F.col(_UP_TO) - F.col(_ROWS)
    return (
        counts.withColumn(_UP_TO, F.sum(_ROWS).over(running))
        .where((F.col(_UP_TO) > F.col(_WANTED)) & (later <= F.col(_WANTED)))
        .select(_AT, (F.col(_WANTED) - later).alias(_WANTED))
    )
