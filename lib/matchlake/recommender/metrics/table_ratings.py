"""`rating_metrics` and `calibration_metrics` of tables, without Spark."""

from typing import Any

import numpy as np
import pyarrow as pa

from matchlake.engine.frames import as_given, to_arrow_table
from matchlake.recommender.metrics.normal import DEVIATION, HALF_LOG_2_PI, HALF_WIDTH
from matchlake.recommender.metrics.table_shape import (
    Figure,
    Flags,
    common_codes,
    doubles_and_nulls,
    figures_table,
    mean_figure,
)
from matchlake.recommender.tables import Doubles, require_names, sums_of
from matchlake.schemas import RATING, SCORE, USER_ID

_WHAT = "scored"
_TENTHS = 10


def rating_table(scored: Any, *, per_user: bool) -> Any:
    """`rating_metrics` of a table."""
    table = to_arrow_table(scored, _WHAT)
    require_names(table, (*([USER_ID] if per_user else []), RATING, SCORE), _WHAT)
    errors, known = _errors(table)
    squares, sizes = errors * errors, np.abs(errors)
    if not per_user:
        means = mean_figure("rmse", squares, known), mean_figure("mae", sizes, known)
        root = None if means[0].value is None else float(np.sqrt(means[0].value))
        return as_given(figures_table([means[0]._replace(value=root), means[1]]), scored)
    (users,) = common_codes(USER_ID, (table, _WHAT))
    users = users + 1  # all null users count as one user, as on Spark
    present = np.bincount(users) > 0
    counts = np.bincount(users[known], minlength=len(present))[present]
    with np.errstate(invalid="ignore"):
        mse, mae = (
            sums_of(users[known], each[known], len(present))[present] / counts
            for each in (squares, sizes)
        )
    figures = [
        mean_figure("rmse", np.sqrt(mse), counts > 0),
        mean_figure("mae", mae, counts > 0),
    ]
    return as_given(figures_table(figures), scored)


def calibration_table(scored: Any) -> Any:
    """`calibration_metrics` of a table."""
    table = to_arrow_table(scored, _WHAT)
    require_names(table, (RATING, SCORE, DEVIATION), _WHAT)
    errors, known = _errors(table)
    deviations, null = doubles_and_nulls(table[DEVIATION], DEVIATION, _WHAT)
    known &= ~null & ~np.isnan(errors) & ~np.isnan(deviations)
    errors, deviations = errors[known], deviations[known]
    inside = (np.abs(errors) <= HALF_WIDTH * deviations).astype(np.float64)
    every = np.ones(len(errors), bool)
    with np.errstate(divide="ignore", invalid="ignore"):
        density = -HALF_LOG_2_PI - np.log(deviations) - (errors / deviations) ** 2 / 2
    constant: float | None = None
    if len(errors):
        with np.errstate(divide="ignore"):
            constant = float(-HALF_LOG_2_PI - np.log(np.sqrt(np.mean(errors**2))) - 0.5)
    count = len(errors)
    worst = _by_tenth(inside, deviations)
    low, high = (float(f(worst)) if count else None for f in (np.min, np.max))
    figures = [
        mean_figure("interval_coverage_90", inside, every),
        mean_figure("log_likelihood", density, every),
        Figure("log_likelihood_constant", None, constant, count, count),
        Figure("interval_coverage_90_min", None, low, count, count),
        Figure("interval_coverage_90_max", None, high, count, count),
    ]
    return as_given(figures_table(figures), scored)


def _errors(table: pa.Table) -> tuple[Doubles, Flags]:
    """Returns the error of each row, and which rows have a score and a rating."""
    scores, no_score = doubles_and_nulls(table[SCORE], SCORE, _WHAT)
    ratings, no_rating = doubles_and_nulls(table[RATING], RATING, _WHAT)
    return scores - ratings, ~no_score & ~no_rating


def _by_tenth(inside: Doubles, deviations: Doubles) -> Doubles:
    """Returns the mean of `inside` in each tenth of the rows by deviation."""
    ordered = np.sort(deviations)
    ranks = np.ceil(np.arange(1, _TENTHS) / _TENTHS * len(ordered)).astype(int) - 1
    edges = ordered[np.maximum(ranks, 0)] if len(ordered) else ordered
    tenths = (deviations[:, None] > edges[None, :]).sum(axis=1)
    counts = np.bincount(tenths, minlength=_TENTHS)
    sums = sums_of(tenths, inside, _TENTHS)
    means: Doubles = sums[counts > 0] / counts[counts > 0]
    return means
