"""Point-in-time joins: labels with the values that were known at each label's time."""

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from matchlake.errors import SchemaError
from matchlake.features.params import PointInTimeJoin

_ADDED = "point_in_time_"


def point_in_time_join(labels: DataFrame, history: DataFrame, on: PointInTimeJoin) -> DataFrame:
    """Every row of `labels` with the newest values that were known at its time. Lazy.

    A row of `history` matches if it has the label's keys, and its event_time and created_at are not
    after the label's time. Of several matches the latest event_time counts, then the latest
    created_at, then the greatest values, so that equal input gives equal rows. Rows of `history`
    without a key or a time do not count.

    Gives the columns of `labels`, then those of `history` without the keys; these are null without
    a match, or if the match is older than the lookback window. Raises SchemaError for missing
    columns and for columns of one name on both sides. The plan has one shuffle and one sort by key
    and time.
    """
    values = _check(labels, history, on)
    time = F.col(on.event_time)
    known = time if on.created_at is None else F.greatest(time, on.created_at)
    needed = (*on.keys, on.event_time, on.created_at or on.event_time)
    newest = F.struct(time.alias("time"), known.alias("known"), F.struct(*values).alias("values"))
    events = history.dropna(subset=list(needed)).select(
        *on.keys,
        known.alias(f"{_ADDED}at"),
        F.lit(0).alias(f"{_ADDED}side"),
        newest.alias(f"{_ADDED}seen"),
    )
    queries = labels.select(
        *on.keys,
        F.col(on.label_timestamp).alias(f"{_ADDED}at"),
        F.lit(1).alias(f"{_ADDED}side"),
        F.struct(*labels.columns).alias(f"{_ADDED}label"),
    )
    order = Window.partitionBy(*on.keys).orderBy(f"{_ADDED}at", f"{_ADDED}side")
    so_far = order.rowsBetween(Window.unboundedPreceding, Window.currentRow)
    joined = events.unionByName(queries, allowMissingColumns=True).withColumn(
        f"{_ADDED}seen", F.max(f"{_ADDED}seen").over(so_far)
    )
    answers = joined.where(F.col(f"{_ADDED}side") == 1)
    return answers.select(f"{_ADDED}label.*", *[_value(name, on) for name in values])


def _value(name: str, on: PointInTimeJoin) -> Column:
    seen = F.col(f"{_ADDED}seen")
    value = seen["values"][name]
    if on.lookback_window_seconds is not None:
        oldest = F.col(f"{_ADDED}at") - F.make_dt_interval(secs=F.lit(on.lookback_window_seconds))
        value = F.when(seen["time"] >= oldest, value)
    return value.alias(name)


def _check(labels: DataFrame, history: DataFrame, on: PointInTimeJoin) -> list[str]:
    """The columns of the history without the keys; raises SchemaError for unusable columns."""
    sides = [
        ("the labels", labels, (*on.keys, on.label_timestamp)),
        (
            "the history",
            history,
            (*on.keys, on.event_time, *([on.created_at] if on.created_at else [])),
        ),
    ]
    for side, frame, required in sides:
        missing = [name for name in required if name not in frame.columns]
        if missing:
            raise SchemaError.missing(side, missing, frame.columns)
    values = [name for name in history.columns if name not in on.keys]
    both = sorted(set(values) & set(labels.columns))
    if both:
        raise SchemaError(
            f"Both the labels and the history have {', '.join(both)}: rename these in one of them."
        )
    return values
