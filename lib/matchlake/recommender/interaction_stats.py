"""Statistics of a fit's interactions, and the checks of a fit; this module does not need Spark."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from matchlake.errors import InputError
from matchlake.recommender.interaction_spec import InteractionSpec

VALUE = "value"
"""The column that is fitted, the spec's value column as float."""

SHOWN = 5
"""The maximum number of invalid rows in an error message."""


@dataclass(frozen=True)
class InteractionStats:
    """Size of the interactions; `users` and `items` are estimates, accurate to a few percent.

    `minimum`, `maximum` and `value_mean` describe the values. A fit subtracts `mean`.
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


def stats_of(counts: Counts, shown: Sequence[Any], spec: InteractionSpec) -> InteractionStats:
    """Returns the statistics of interactions from their counts.

    Raises InputError for invalid rows, with `shown` in the message, for no rows, and if all values
    are equal.
    """
    if counts.invalid:
        raise InputError(
            f"{counts.invalid} of {counts.rows} interaction(s) cannot be fitted, among them "
            f"{list(shown)}. " + spec.requirement
        )
    if not counts.rows or counts.mean is None or counts.minimum is None or counts.maximum is None:
        raise InputError("There are no interactions to fit: the frame is empty.")
    if spec.centered and counts.minimum == counts.maximum and counts.rows > 1:
        raise InputError(
            f"All {counts.rows} ratings are {counts.minimum}, so nothing can be learned from "
            "them. If the ratings only mark interactions, fit als with feedback='implicit'."
        )
    # the mean is rounded to float32, so that it does not depend on the order of partitions
    mean = float(np.float32(counts.mean)) if spec.centered else 0.0
    sizes = counts.rows, max(1, counts.users), max(1, counts.items)
    # also rounded: the order of partitions changes the last bits of sums
    means = float(np.float32(counts.mean)), float(np.float32(math.exp(counts.log_mean or 0.0)))
    return InteractionStats(*sizes, mean, counts.minimum, counts.maximum, *means)


def refuse_repeated(pairs: Sequence[tuple[Any, Any]]) -> None:
    """Raises InputError with `pairs` if a fit found repeated (user_id, item_id)."""
    if pairs:
        raise InputError(
            f"Some pairs (user_id, item_id) have more than one row, among them {list(pairs)}. "
            "Keep one row per pair; for als, duplicates='last', 'sum' or 'mean' merges rows."
        )
