"""`related_metrics` of tables, without Spark."""

from typing import Any

import numpy as np
import pyarrow as pa

from matchlake.engine.csr import Ints
from matchlake.engine.frames import as_given, to_arrow_table
from matchlake.recommender.metrics.table_shape import common_codes, figures_table, mean_figure
from matchlake.recommender.tables import Doubles, codes_of, numbers, require_names, sums_of
from matchlake.schemas import ITEM_ID, RANK, RATING, USER_ID

_LISTS, _TRUTH = "the related lists", "truth"


def related_table(lists: Any, truth: Any, key: str, k: int, common: int) -> Any:
    """`related_metrics` of tables."""
    shown, rows = to_arrow_table(lists, _LISTS), to_arrow_table(truth, _TRUTH)
    related = f"related_{key}"
    require_names(shown, (key, RANK, related), _LISTS)
    require_names(rows, (USER_ID, ITEM_ID, RATING), _TRUTH)
    targets = pa.table({key: shown[related]})
    queries, others, own = common_codes(key, (shown, _LISTS), (targets, _LISTS), (rows, _TRUTH))
    group = codes_of(rows[ITEM_ID if key == USER_ID else USER_ID])[0]
    pairs, gains = _gains(own, group, numbers(rows[RATING], RATING, _TRUTH), common)
    ranks = numbers(shown[RANK], RANK, _LISTS)
    width = _width(queries, others, own)
    figures, plural = [], key.removesuffix("_id") + "s"
    everyone = np.unique(own)
    for norm, gain in zip(("l1", "l2"), gains, strict=True):
        at = np.flatnonzero(ranks <= k)
        found = _look_up(queries[at] * width + others[at], pairs, gain)
        gained = sums_of(queries[at], found / np.log2(ranks[at] + 1), width)[everyone]
        lengths = np.bincount(queries[at], minlength=width)[everyone]
        best = _best(pairs // width, gain, everyone, lengths)
        with np.errstate(divide="ignore", invalid="ignore"):
            values = gained / best
        name = f"related_{plural}_ndcg_{norm}"
        figures.append(mean_figure(name, values, (lengths > 0) & (best > 0), k))
    return as_given(figures_table(figures), lists)


def _width(*codes: Ints) -> int:
    return int(max(each.max(initial=0) for each in codes)) + 1


def _gains(
    own: Ints, group: Ints, ratings: Doubles, common: int
) -> tuple[Ints, tuple[Doubles, Doubles]]:
    """Returns comparable pairs of ids, packed and ascending, and their gains by L1 and L2."""
    width, sides = _width(own), _width(group)
    known = (own >= 0) & (group >= 0) & ~np.isnan(ratings)
    once, row = np.unique(own[known] * sides + group[known], return_inverse=True)
    means = sums_of(row, ratings[known], len(once)) / np.maximum(1, np.bincount(row))
    ids, groups = once // sides, once % sides
    order = np.argsort(groups, kind="stable")
    starts = np.flatnonzero(np.append([True], np.diff(groups[order]) > 0))
    pairs, gaps = [np.zeros(0, np.int64)], [np.zeros(0)]
    for part in np.split(order, starts[1:]):
        pairs.append((ids[part][:, None] * width + ids[part][None, :]).ravel())
        gaps.append((means[part][:, None] - means[part][None, :]).ravel())
    packed, gap = np.concatenate(pairs), np.concatenate(gaps)
    different = packed // width != packed % width
    distinct, at = np.unique(packed[different], return_inverse=True)
    gap, counts = gap[different], np.bincount(at, minlength=len(distinct))
    size = np.maximum(1, counts)
    l1 = 1 / (1 + sums_of(at, np.abs(gap), len(distinct)) / size)
    l2 = 1 / (1 + np.sqrt(sums_of(at, gap * gap, len(distinct)) / size))
    kept = counts >= common
    return distinct[kept], (l1[kept], l2[kept])


def _look_up(wanted: Ints, pairs: Ints, gains: Doubles) -> Doubles:
    """Returns the gain of each pair; 0 if it is not comparable."""
    if not len(pairs):
        return np.zeros(len(wanted))
    at = np.minimum(np.searchsorted(pairs, wanted), len(pairs) - 1)
    return np.where(pairs[at] == wanted, gains[at], 0.0)


def _best(queries: Ints, gains: Doubles, everyone: Ints, lengths: Ints) -> Doubles:
    """Returns the discounted gain of the best list of each length."""
    best = np.zeros(len(everyone))
    begins, ends = (np.searchsorted(queries, everyone, side) for side in ("left", "right"))
    for row, (begin, end, length) in enumerate(zip(begins, ends, lengths, strict=True)):
        top = np.sort(gains[begin:end])[::-1][:length]
        best[row] = float((top / np.log2(np.arange(len(top)) + 2)).sum())
    return best
