"""Joins labels with what was known when each of them happened."""

from pydantic import Field
from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from matchlake.errors import SchemaError
from matchlake.params import Params

_ADDED = "as_of_"


class AsOf(Params):
    """How a history of values is joined to labels, by event time and by the time of knowing."""

    keys: tuple[str, ...] = Field(min_length=1)
    """Columns of both sides that say whose values they are."""
    label_time: str
    """The labels' column of when the label happened."""
    event_time: str
    """The history's column of when its values became true."""
    known_at: str | None = None
    """The history's column of when they became known; null: when they became true."""
    look_back_seconds: float | None = Field(None, gt=0)
    """Values that became true longer ago than this are not joined; null: none is too old."""


def join_as_of(labels: DataFrame, history: DataFrame, on: AsOf) -> DataFrame:
    """Every row of `labels` with the newest values that were true and known at its time. Lazy.

    Of the rows of `history` with the label's keys whose event_time and known_at are at or before
    the label's time, the one with the latest event_time counts (then the latest known_at, then the
    greatest values, so that equal input gives equal rows). Gives the columns of `labels`, then
    those of `history` without the keys; null where there is no such row, or it is too old. Rows of
    `history` without a key or a time are passed over. Raises SchemaError for missing columns and
    for names that stand on both sides.

    One shuffle and one sort by key and time, whatever the number of matches.
    """
    values = _check(labels, history, on)
    time = F.col(on.event_time)
    known = time if on.known_at is None else F.greatest(time, on.known_at)
    needed = (*on.keys, on.event_time, on.known_at or on.event_time)
    newest = F.struct(time.alias("time"), known.alias("known"), F.struct(*values).alias("values"))
    events = history.dropna(subset=list(needed)).select(
        *on.keys,
        known.alias(f"{_ADDED}at"),
        F.lit(0).alias(f"{_ADDED}side"),
        newest.alias(f"{_ADDED}seen"),
    )
    asked = labels.select(
        *on.keys,
        F.col(on.label_time).alias(f"{_ADDED}at"),
        F.lit(1).alias(f"{_ADDED}side"),
        F.struct(*labels.columns).alias(f"{_ADDED}label"),
    )
    order = Window.partitionBy(*on.keys).orderBy(f"{_ADDED}at", f"{_ADDED}side")
    so_far = order.rowsBetween(Window.unboundedPreceding, Window.currentRow)
    joined = events.unionByName(asked, allowMissingColumns=True).withColumn(
        f"{_ADDED}seen", F.max(f"{_ADDED}seen").over(so_far)
    )
    answers = joined.where(F.col(f"{_ADDED}side") == 1)
    return answers.select(f"{_ADDED}label.*", *[_value(name, on) for name in values])


def _value(name: str, on: AsOf) -> Column:
    seen = F.col(f"{_ADDED}seen")
    value = seen["values"][name]
    if on.look_back_seconds is not None:
        oldest = F.col(f"{_ADDED}at") - F.make_dt_interval(secs=F.lit(on.look_back_seconds))
        value = F.when(seen["time"] >= oldest, value)
    return value.alias(name)


def _check(labels: DataFrame, history: DataFrame, on: AsOf) -> list[str]:
    """The history's columns without the keys."""
    sides = [
        ("labels", labels, (*on.keys, on.label_time)),
        ("history", history, (*on.keys, on.event_time, *([on.known_at] if on.known_at else []))),
    ]
    for side, frame, wanted in sides:
        missing = [name for name in wanted if name not in frame.columns]
        if missing:
            raise SchemaError(
                f"The {side} lack {', '.join(missing)}: there is {', '.join(frame.columns)}."
            )
    values = [name for name in history.columns if name not in on.keys]
    both = sorted(set(values) & set(labels.columns))
    if both:
        raise SchemaError(
            f"{', '.join(both)} is a column of the labels and of the history: rename it in one."
        )
    return values
