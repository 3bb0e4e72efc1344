"""Prepares the interactions of a fit: checks them, merges duplicates, and counts them."""

import math
from typing import Any

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from matchlake.recommender.columns import require_columns
from matchlake.recommender.interaction_spec import InteractionSpec
from matchlake.recommender.interaction_stats import (
    SHOWN,
    VALUE,
    Counts,
    InteractionStats,
    stats_of,
)
from matchlake.schemas import EVENT_TIME, ITEM_ID, USER_ID


def prepare(interactions: DataFrame, spec: InteractionSpec) -> DataFrame:
    """Returns `user_id`, `item_id`, `value` (float), with `spec.duplicates` applied; lazy.

    With `duplicates="error"` repeated pairs remain; the fit detects them when it sorts.
    """
    column = spec.value_column
    timed = (EVENT_TIME,) if spec.duplicates == "last" else ()
    require_columns(interactions, (USER_ID, ITEM_ID, column, *timed), "the interactions")
    value = F.col(column).cast("double")
    if spec.duplicates != "error":
        # If times are equal, the larger value is kept, so reruns give the same result.
        aggregates = {
            "sum": F.sum(value),
            "mean": F.avg(value),
            "last": F.max(F.struct(EVENT_TIME, value.alias(VALUE)))[VALUE],
        }
        interactions = interactions.groupBy(USER_ID, ITEM_ID).agg(
            aggregates[spec.duplicates].alias(column)
        )
    return interactions.select(USER_ID, ITEM_ID, F.col(column).cast("float").alias(VALUE))


def summarize(pairs: DataFrame, spec: InteractionSpec) -> InteractionStats:
    """Counts the rows of `prepare`, in one action; raises InputError for invalid rows."""
    invalid = invalid_rows(spec)
    row = pairs.agg(
        F.count(F.lit(1)).alias("rows"),
        F.count_if(invalid).alias("invalid"),
        F.approx_count_distinct(USER_ID).alias("users"),
        F.approx_count_distinct(ITEM_ID).alias("items"),
        F.avg(F.when(~invalid, F.col(VALUE))).alias("mean"),
        F.min(VALUE).alias("minimum"),
        F.max(VALUE).alias("maximum"),
    ).collect()[0]
    return validate(Counts(**row.asDict()), pairs, spec)


def validate(counts: Counts, pairs: DataFrame, spec: InteractionSpec) -> InteractionStats:
    """Returns the statistics of `pairs` from their counts; raises InputError for invalid rows."""
    shown: list[Any] = []
    if counts.invalid:
        shown = [tuple(row) for row in pairs.where(invalid_rows(spec)).limit(SHOWN).collect()]
    return stats_of(counts, shown, spec)


def invalid_rows(spec: InteractionSpec) -> Column:
    """Returns whether a row of `prepare` cannot be fitted."""
    fit = F.col(USER_ID).isNotNull() & F.col(ITEM_ID).isNotNull() & is_valid(F.col(VALUE), spec)
    return ~F.coalesce(fit, F.lit(False))  # noqa: FBT003


def is_valid(value: Column, spec: InteractionSpec) -> Column:
    """Returns whether a rating or weight can be fitted; null for null."""
    finite = F.abs(value) < F.lit(math.inf)
    return finite & (value >= 0) if spec.nonnegative else finite
