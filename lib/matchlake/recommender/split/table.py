"""Splits of tables without Spark: the same rows go to the same part as on Spark."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from matchlake.engine.csr import Ints
from matchlake.engine.frames import is_sparse, keep_rows
from matchlake.engine.xxhash64 import xxhash64
from matchlake.recommender.split.params import SplitParams
from matchlake.recommender.split.result import Split
from matchlake.recommender.tables import OLDEST, Doubles, codes_of, read_interactions, times
from matchlake.schemas import EVENT_TIME, ITEM_ID, USER_ID

_WHAT = "interactions"
_TIMED = ("time", "user_time", "last_n")

Flags = npt.NDArray[np.bool_]


def split_table(interactions: Any, params: SplitParams) -> Split:
    """Splits a table or a sparse matrix into two of the same kind."""
    timed = (EVENT_TIME,) if params.kind in _TIMED else ()
    table = read_interactions(interactions, timed, _WHAT)
    kept = np.ones(table.num_rows, bool)
    if params.kind == "recommender":
        kept, test = _mixed(table, params)
    elif params.kind == "time":
        test = _by_time(times(table[EVENT_TIME], _WHAT), params)
    elif params.kind in _TIMED:
        test = _latest(table, params)
    else:
        purpose, keys = {
            "random": ("pair", (USER_ID, ITEM_ID)),
            "cold_users": ("user", (USER_ID,)),
            "cold_items": ("item", (ITEM_ID,)),
        }[params.kind]
        test = _draw(params.seed, purpose, table, keys) < params.test_fraction
    if is_sparse(interactions):
        interactions = interactions.tocsr()
    parts = keep_rows(interactions, kept & ~test), keep_rows(interactions, kept & test)
    return Split(*parts)


def _draw(seed: int, purpose: str, table: pa.Table, keys: Sequence[str]) -> Doubles:
    """Like `parts.draw`: returns a number in [0, 1) per row, from seed, purpose and ids."""
    hashes = xxhash64((purpose, seed), [table[key] for key in keys])
    drawn: Doubles = (hashes >> np.uint64(11)).astype(np.float64) * 2.0**-53
    return drawn


def _fraction_of(counts: Any, share: float) -> Any:
    return np.floor(counts * share + 0.5).astype(np.int64)


def _by_time(moments: Ints, params: SplitParams) -> Flags:
    if params.cutoff is not None:
        return moments >= _micros(params.cutoff)
    known = np.sort(moments[moments != OLDEST])[::-1]
    if not len(known):
        return np.zeros(len(moments), bool)
    # at least one row stays in the training part
    wanted = min(int(_fraction_of(len(known), params.test_fraction)), len(known) - 1)
    after: Flags = moments > known[wanted]
    return after


def _micros(moment: datetime) -> int:
    return int(pa.scalar(moment, pa.timestamp("us", "UTC")).value)


def _latest(table: pa.Table, params: SplitParams) -> Flags:
    moments = times(table[EVENT_TIME], _WHAT)
    ties = _draw(params.seed, "tie", table, (USER_ID, ITEM_ID))
    users, items = codes_of(table[USER_ID])[0], codes_of(table[ITEM_ID])[0]
    place, places = _places(users, (moments, ties, items))
    by_fraction = params.kind == "user_time"
    n_test = _fraction_of(places, params.test_fraction) if by_fraction else params.last_n
    latest: Flags = place > places - np.minimum(n_test, places - 1)
    return latest


def _places(groups: Ints, order: Sequence[npt.NDArray[Any]]) -> tuple[Ints, Ints]:
    """Returns, per row, its position in the group (from 1), and the number of events.

    Rows that are equal in `order` share a position.
    """
    rows = np.lexsort((*reversed(order), groups))
    if not len(rows):
        return rows, rows
    ordered = groups[rows]
    first = np.append([True], ordered[1:] != ordered[:-1])
    new = first.copy()
    for key in order:
        values = key[rows]
        new[1:] |= values[1:] != values[:-1]
    running = np.cumsum(new)
    starts = np.flatnonzero(first)
    group = np.cumsum(first) - 1
    ends = np.append(starts[1:] - 1, len(rows) - 1)
    place, places = np.empty_like(running), np.empty_like(running)
    place[rows] = running - running[starts][group] + 1
    places[rows] = (running[ends] - running[starts] + 1)[group]
    return place, places


def _mixed(table: pa.Table, params: SplitParams) -> tuple[Flags, Flags]:
    """Returns which rows stay, and which of them are test rows; see `split_recommender`."""
    item = _draw(params.seed, "item", table, (ITEM_ID,))
    user = _draw(params.seed, "user", table, (USER_ID,))
    cold_user = user < params.cold_users
    training = ~cold_user & (user < params.cold_users + params.training_users)
    limit = params.cold_users + params.training_users + params.ignored_users
    ignored = ~cold_user & ~training & (user < limit)
    cold_item = item < params.cold_items
    ignored_item = ~cold_item & (item < params.cold_items + params.ignored_items)
    kept = ~ignored_item & (cold_item | ~ignored)
    items = codes_of(table[ITEM_ID])[0]
    groups = codes_of(table[USER_ID])[0] * 4 + cold_item * 2 + ~kept
    order = _draw(params.seed, "pair", table, (USER_ID, ITEM_ID)), items
    place, places = _places(groups, order)
    n_kept = np.maximum(_fraction_of(places, params.kept_ratings), 1)
    shared = ~cold_user & ~training & ~ignored
    test = cold_item | cold_user | (shared & (place > n_kept))
    if params.drop_stray_cold_items:
        trained = np.isin(items, items[kept & ~test])
        kept &= ~test | cold_item | trained
    return kept, test
