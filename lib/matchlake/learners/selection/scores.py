"""Scores and p-values from counts and centred sums; the distributions are those of SciPy."""

from typing import NamedTuple

import numpy as np

from matchlake.learners.selection.params import Method
from matchlake.learners.selection.statistics import Cells, CoMoments, Doubles, Found, Moments

_TWO = 2
_CELLS = 4_000_000
"""The maximum number of cells of a table in memory."""


class Score(NamedTuple):
    """A score, its p-value if the method has one, and the reason if there is no score."""

    score: float | None
    p_value: float | None = None
    reason: str | None = None


def score_of(method: Method, found: Found) -> Score:
    """The score of one column from its statistics."""
    if isinstance(found, str):
        return Score(None, None, found)
    if isinstance(found, int):
        return Score(float(found))
    if isinstance(found, Cells):
        return _table(method, found)
    if isinstance(found, CoMoments):
        return _correlation(method, found)
    return _groups(method, found)


def _groups(method: Method, moments: Moments) -> Score:
    """ANOVA's F, or Fisher's score: sums of squares between and within the groups.

    R. A. Fisher, Statistical Methods for Research Workers (1925); scipy.stats.f_oneway.
    """
    filled = moments.count > 0
    count, mean = moments.count[filled], moments.mean[filled]
    groups, rows = len(count), float(count.sum())
    if groups < _TWO:
        return Score(None, None, "fewer than two groups have values")
    overall = float(np.sum(count * mean) / rows)
    between = float(np.sum(count * (mean - overall) ** 2))
    within = float(np.sum(moments.squares[filled]))
    if between == 0 and within == 0:
        return Score(None, None, "constant")
    if method == "fisher":
        return Score(_ratio(between, within))
    free = groups - 1, rows - groups
    if free[1] <= 0:
        return Score(None, None, "as many groups as rows")
    f = _ratio(between / free[0], within / free[1])
    return Score(f, _f_tail(free[0], free[1], f))


def _correlation(method: Method, sums: CoMoments) -> Score:
    """Pearson's r, also of ranks (Spearman), or the F statistic of a regression on one column."""
    if sums.count < _TWO:
        return Score(None, None, "fewer than two rows have a value")
    if sums.column <= 0 or sums.label <= 0:
        return Score(None, None, "constant" if sums.column <= 0 else "the label is constant")
    # The root of the product is exact for a column that is equal to the label.
    r = float(np.clip(sums.product / np.sqrt(sums.column * sums.label), -1.0, 1.0))
    free = sums.count - 2
    if method == "f_regression":
        if free <= 0:
            return Score(None, None, "fewer than three rows have a value")
        f = _ratio(r * r * free, 1 - r * r)
        return Score(f, _f_tail(1, free, f))
    return Score(r, 1.0 if free <= 0 else _correlation_tail(r, free))


def _table(method: Method, cells: Cells) -> Score:
    """Pearson's chi-square, or the mutual information in nats, of categories and classes.

    The p-value of mutual information is that of the G test, whose statistic is 2 n times it.
    """
    rows: Doubles = np.bincount(cells.category, weights=cells.count).astype(np.float64)
    columns: Doubles = np.bincount(cells.label, weights=cells.count).astype(np.float64)
    total = float(cells.count.sum())
    if not total:
        return Score(None, None, "no row has a value")
    free = (len(rows) - 1) * (len(columns) - 1)
    if method == "mutual_information":
        expected = rows[cells.category] * columns[cells.label] / total
        score = max(0.0, float(np.sum(cells.count / total * np.log(cells.count / expected))))
        statistic = 2 * total * score
    else:
        score = _chi_square(cells, rows, columns) if free else 0.0
        statistic = score
    return Score(score, _chi_square_tail(free, statistic))


def _chi_square(cells: Cells, rows: Doubles, columns: Doubles) -> float:
    """Pearson's chi-square, in blocks of categories: the whole table may be too large."""
    step, score = max(1, _CELLS // len(columns)), 0.0
    for first in range(0, len(rows), step):
        expected = np.outer(rows[first : first + step], columns) / rows.sum()
        here = (cells.category >= first) & (cells.category < first + step)
        observed = np.zeros_like(expected)
        observed[cells.category[here] - first, cells.label[here]] = cells.count[here]
        score += float(np.sum((observed - expected) ** 2 / expected))
    return score


def _ratio(above: float, below: float) -> float:
    return above / below if below > 0 else float("inf")


def _f_tail(first: float, second: float, f: float) -> float:
    from scipy import special  # noqa: PLC0415 - the extra `models`

    return float(special.fdtrc(first, second, f)) if np.isfinite(f) else 0.0


def _chi_square_tail(free: int, statistic: float) -> float:
    from scipy import special  # noqa: PLC0415 - the extra `models`

    return float(special.chdtrc(free, statistic)) if free else 1.0


def _correlation_tail(r: float, free: float) -> float:
    """The p-value of r: without correlation, (1 + r) / 2 has a beta distribution."""
    from scipy import special  # noqa: PLC0415 - the extra `models`

    return float(min(1.0, 2 * special.betainc(free / 2, free / 2, (1 - abs(r)) / 2)))


def corrected(p_values: Doubles, correction: str) -> Doubles:
    """Returns p-values, corrected for their number; NaN stays NaN.

    Bonferroni multiplies by the number. Benjamini and Hochberg (1995) multiply the i-th smallest
    p-value by number / i. Each result is then limited to the smallest result of the larger
    p-values.
    """
    known = np.flatnonzero(~np.isnan(p_values))
    result = p_values.copy()
    given = p_values[known]
    if correction == "bonferroni":
        result[known] = np.minimum(1.0, given * len(known))
    elif correction == "benjamini_hochberg" and len(known):
        order = np.argsort(given, kind="stable")[::-1]
        places = np.arange(len(known), 0, -1)
        steps = np.minimum.accumulate(given[order] * len(known) / places)
        result[known[order]] = np.minimum(1.0, steps)
    return result
