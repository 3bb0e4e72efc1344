"""What comes into a fit: checked, each (user, item) once, with its size known."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from matchlake.errors import InputError
from matchlake.recommender.als.params import AlsParams, needed
from matchlake.recommender.columns import require_columns
from matchlake.schemas import EVENT_TIME, ITEM_ID, USER_ID

VALUE = "value"
"""The column that is fitted, once `rating` or `strength` has become a float."""

SHOWN = 5
"""Offending rows that an error shows."""


@dataclass(frozen=True)
class Survey:
    """Size of the interactions; `users` and `items` are estimates within a few per cent.

    `least` and `most` are the values' ends.
    """

    interactions: int
    users: int
    items: int
    mean: float
    least: float
    most: float


class Counts(NamedTuple):
    """What was counted of interactions; `mean`, `least` and `most` are None where all are bad."""

    rows: int
    bad: int
    users: int
    items: int
    mean: float | None
    least: float | None
    most: float | None


def prepare(interactions: DataFrame, params: AlsParams) -> DataFrame:
    """`user_id`, `item_id`, `value` (float), with `params.duplicates` applied; lazy.

    With `duplicates="error"` repeated pairs are still there: the fit finds them as it sorts.
    """
    column = params.value_column
    timed = (EVENT_TIME,) if params.duplicates == "last" else ()
    require_columns(interactions, (USER_ID, ITEM_ID, column, *timed), "the interactions")
    value = F.col(column).cast("double")
    if params.duplicates != "error":
        # Equal times leave the larger value, so that a rerun agrees.
        aggregates = {
            "sum": F.sum(value),
            "mean": F.avg(value),
            "last": F.max(F.struct(EVENT_TIME, value.alias(VALUE)))[VALUE],
        }
        interactions = interactions.groupBy(USER_ID, ITEM_ID).agg(
            aggregates[params.duplicates].alias(column)
        )
    return interactions.select(USER_ID, ITEM_ID, F.col(column).cast("float").alias(VALUE))


def survey(pairs: DataFrame, params: AlsParams) -> Survey:
    """Counts what `prepare` gave, in one action; raises InputError for what cannot be fitted."""
    bad = unfit(params)
    row = pairs.agg(
        F.count(F.lit(1)).alias("rows"),
        F.count_if(bad).alias("bad"),
        F.approx_count_distinct(USER_ID).alias("users"),
        F.approx_count_distinct(ITEM_ID).alias("items"),
        F.avg(F.when(~bad, F.col(VALUE))).alias("mean"),
        F.min(VALUE).alias("least"),
        F.max(VALUE).alias("most"),
    ).collect()[0]
    return checked(Counts(**row.asDict()), pairs, params)


def checked(counts: Counts, pairs: DataFrame, params: AlsParams) -> Survey:
    """The survey of `pairs` that were counted; raises InputError for what cannot be fitted."""
    if counts.bad:
        shown = [tuple(found) for found in pairs.where(unfit(params)).limit(SHOWN).collect()]
        raise InputError(
            f"{counts.bad} of {counts.rows} interaction(s) cannot be fitted, among them {shown}. "
            + needed(params)
        )
    if not counts.rows or counts.mean is None or counts.least is None or counts.most is None:
        raise InputError("There are no interactions to fit: the frame given is empty.")
    if params.has_bias and counts.least == counts.most and counts.rows > 1:
        raise InputError(
            f"All {counts.rows} ratings are {counts.least}: there is nothing to learn from them. "
            "Where an interaction itself is the signal, fit als with feedback='implicit'."
        )
    # Rounded to float32, so that the order in which partitions were summed leaves no trace.
    mean = float(np.float32(counts.mean)) if params.has_bias else 0.0
    sizes = counts.rows, max(1, counts.users), max(1, counts.items)
    return Survey(*sizes, mean, counts.least, counts.most)


def unfit(params: AlsParams) -> Column:
    """Whether a row of `prepare` cannot be fitted."""
    fit = F.col(USER_ID).isNotNull() & F.col(ITEM_ID).isNotNull() & fits(F.col(VALUE), params)
    return ~F.coalesce(fit, F.lit(False))  # noqa: FBT003


def fits(value: Column, params: AlsParams) -> Column:
    """Whether a rating or strength can be fitted; null for null."""
    finite = F.abs(value) < F.lit(math.inf)
    return finite & (value >= 0) if params.feedback == "implicit" else finite


def refuse_repeated(pairs: Sequence[tuple[Any, Any]]) -> None:
    """Raises InputError that shows `pairs`, where a fit found (user_id, item_id) more than once."""
    if pairs:
        raise InputError(
            f"Some (user_id, item_id) come more than once, among them {list(pairs)}. "
            "Keep one row of each pair; of an als fit duplicates='last', 'sum' or 'mean' says what "
            "they mean."
        )
