"""The interactions of a fit: checked, each (user, item) once, with their size."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from matchlake.errors import InputError
from matchlake.recommender.columns import require_columns
from matchlake.recommender.interaction_spec import InteractionSpec
from matchlake.schemas import EVENT_TIME, ITEM_ID, USER_ID

VALUE = "value"
"""The column that is fitted, the spec's value column as float."""

SHOWN = 5
"""Offending rows that an error shows."""


@dataclass(frozen=True)
class InteractionStats:
    """Size of the interactions; `users` and `items` are estimates within a few per cent.

    `minimum`, `maximum` and `value_mean` are those of the values. `mean` is what a fit subtracts.
    `typical_value` is the geometric mean of the positive values; 1 if there are none.
    """

    interactions: int
    users: int
    items: int
    mean: float
    minimum: float
    maximum: float
    value_mean: float = 1.0
    typical_value: float = 1.0


class Counts(NamedTuple):
    """Counts of interactions; `mean`, `minimum` and `maximum` are None if all rows are invalid.

    `log_mean` is the mean natural logarithm of the positive values.
    """

    rows: int
    invalid: int
    users: int
    items: int
    mean: float | None
    minimum: float | None
    maximum: float | None
    log_mean: float | None = None


def prepare(interactions: DataFrame, spec: InteractionSpec) -> DataFrame:
    """`user_id`, `item_id`, `value` (float), with `spec.duplicates` applied; lazy.

    With `duplicates="error"` repeated pairs remain; the fit finds them when it sorts.
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
    """The size of `pairs` by their counts; raises InputError for invalid rows."""
    if counts.invalid:
        shown = [tuple(row) for row in pairs.where(invalid_rows(spec)).limit(SHOWN).collect()]
        raise InputError(
            f"{counts.invalid} of {counts.rows} interaction(s) cannot be fitted, among them "
            f"{shown}. " + spec.requirement
        )
    if not counts.rows or counts.mean is None or counts.minimum is None or counts.maximum is None:
        raise InputError("There are no interactions to fit: the frame is empty.")
    if spec.centered and counts.minimum == counts.maximum and counts.rows > 1:
        raise InputError(
            f"All {counts.rows} ratings are {counts.minimum}: there is nothing to learn from them. "
            "If ratings are only interactions, fit als with feedback='implicit'."
        )
    # The mean is rounded to float32, so it does not depend on the order of the partitions.
    mean = float(np.float32(counts.mean)) if spec.centered else 0.0
    sizes = counts.rows, max(1, counts.users), max(1, counts.items)
    # Rounded, too: sums over partitions in another order differ in the last bits.
    means = float(np.float32(counts.mean)), float(np.float32(math.exp(counts.log_mean or 0.0)))
    return InteractionStats(*sizes, mean, counts.minimum, counts.maximum, *means)


def invalid_rows(spec: InteractionSpec) -> Column:
    """Whether a row of `prepare` cannot be fitted."""
    fit = F.col(USER_ID).isNotNull() & F.col(ITEM_ID).isNotNull() & is_valid(F.col(VALUE), spec)
    return ~F.coalesce(fit, F.lit(False))  # noqa: FBT003


def is_valid(value: Column, spec: InteractionSpec) -> Column:
    """Whether a rating or weight can be fitted; null for null."""
    finite = F.abs(value) < F.lit(math.inf)
    return finite & (value >= 0) if spec.nonnegative else finite


def refuse_repeated(pairs: Sequence[tuple[Any, Any]]) -> None:
    """Raises InputError, which shows `pairs`, if a fit found repeated (user_id, item_id)."""
    if pairs:
        raise InputError(
            f"Some pairs (user_id, item_id) have more than one row, among them {list(pairs)}. "
            "Keep one row per pair; for als, duplicates='last', 'sum' or 'mean' merges rows."
        )
