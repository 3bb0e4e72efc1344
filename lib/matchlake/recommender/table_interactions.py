"""Prepares the interactions of a fit from a table, as `interactions.py` does on Spark."""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from matchlake.engine.packing import PACKED
from matchlake.recommender.interaction_spec import InteractionSpec
from matchlake.recommender.interaction_stats import (
    SHOWN,
    VALUE,
    Counts,
    InteractionStats,
    stats_of,
)
from matchlake.recommender.packed_interactions import Pack, counts_of
from matchlake.recommender.tables import Doubles, codes_of, numbers, read_interactions, times
from matchlake.schemas import EVENT_TIME, ITEM_ID, USER_ID

WHAT = "the interactions"

_NOTHING = Counts(0, 0, 0, 0, None, None, None)


def prepare_table(data: Any, spec: InteractionSpec, what: str = WHAT) -> pa.Table:
    """Returns `user_id`, `item_id`, `value` (float or null), with `spec.duplicates` applied."""
    timed = (EVENT_TIME,) if spec.duplicates == "last" else ()
    table = read_interactions(data, (spec.value_column, *timed), what)
    values = numbers(table[spec.value_column], spec.value_column, what)
    if spec.duplicates == "error" or table[USER_ID].null_count or table[ITEM_ID].null_count:
        return _pairs(table[USER_ID], table[ITEM_ID], values)
    moments = times(table[EVENT_TIME], what) if timed else np.zeros(len(values), np.int64)
    (users, user_ids), (items, item_ids) = codes_of(table[USER_ID]), codes_of(table[ITEM_ID])
    # sorts by pair, then by time; if times are equal, the larger value is last
    order = np.lexsort((np.where(np.isnan(values), -np.inf, values), moments, items, users))
    pairs = (users * max(1, len(item_ids)) + items)[order]
    last = np.flatnonzero(np.append(pairs[1:] != pairs[:-1], np.ones(min(1, len(pairs)), bool)))
    merged = values[order][last] if spec.duplicates == "last" else _merged(values[order], last)
    if spec.duplicates == "mean":
        known = ~np.isnan(values[order])
        merged = merged / np.maximum(1, _merged(known.astype(np.float64), last))
    rows = order[last]
    return _pairs(
        user_ids.take(pa.array(users[rows])), item_ids.take(pa.array(items[rows])), merged
    )


def pack_table(pairs: pa.Table, spec: InteractionSpec) -> tuple[pa.Table, InteractionStats]:
    """Packs and counts the rows of `prepare_table`; raises InputError for invalid rows."""
    packed = list(Pack(spec.nonnegative)(iter(pairs.to_batches(max_chunksize=PACKED))))
    counts = counts_of(pa.Table.from_batches(packed)) if packed else _NOTHING
    stats = stats_of(counts, _invalid(pairs, spec) if counts.invalid else (), spec)
    return pa.Table.from_batches(packed).select(["data"]), stats


def _merged(values: Doubles, last: "np.ndarray[Any, np.dtype[np.int64]]") -> Doubles:
    """Returns the sums up to each position in `last`; NaN if all values are NaN."""
    first = np.concatenate([[0], last[:-1] + 1])
    known = ~np.isnan(values)
    if not len(last):
        return values
    sums: Doubles = np.add.reduceat(np.where(known, values, 0.0), first)
    return np.where(np.add.reduceat(known, first) > 0, sums, np.nan)


def _pairs(users: Any, items: Any, values: Doubles) -> pa.Table:
    with np.errstate(over="ignore"):
        fitted = values.astype(np.float32)
    missing = np.isnan(fitted)
    return pa.table({USER_ID: users, ITEM_ID: items, VALUE: pa.array(fitted, mask=missing)})


def _invalid(pairs: pa.Table, spec: InteractionSpec) -> list[tuple[Any, ...]]:
    """Returns some rows that cannot be fitted."""
    values = pairs[VALUE].to_numpy()
    valid = np.isfinite(values) & ((values >= 0) | (not spec.nonnegative))
    for key in (USER_ID, ITEM_ID):
        valid &= np.asarray(pc.is_valid(pairs[key]))
    shown = pairs.take(pa.array(np.flatnonzero(~valid)[:SHOWN])).to_pylist()
    return [tuple(row.values()) for row in shown]
