"""Reads recommended lists and true items from tables, as `lists.py` does on Spark."""

from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from matchlake.engine.csr import Ints
from matchlake.engine.frames import to_arrow_table
from matchlake.recommender.metrics.params import RankingParams
from matchlake.recommender.metrics.table_shape import Flags, doubles_and_nulls
from matchlake.recommender.tables import Doubles, require_names
from matchlake.schemas import ITEM_ID, RANK, SCORE, USER_ID

LISTS, TRUTH = "recommendations", "truth"


class Lists(NamedTuple):
    """Distinct items of each user, best first: user, item and place (from 1) of each entry."""

    users: Ints
    items: Ints
    places: Ints


class Truth(NamedTuple):
    """True items: user, item, gain, whether relevant; each pair once, by user, then by item."""

    users: Ints
    items: Ints
    gains: Doubles
    relevant: Flags


def read_lists(recommendations: Any) -> tuple[pa.Table, Doubles]:
    """Returns the table, and a sort key per row that puts the best item first."""
    table = to_arrow_table(recommendations, LISTS)
    name = RANK if RANK in table.column_names else SCORE
    require_names(table, (USER_ID, ITEM_ID, name), LISTS)
    values, null = doubles_and_nulls(table[name], name, LISTS)
    if name == RANK:
        return table, np.where(null, -np.inf, values)
    return table, np.where(null | np.isnan(values), np.inf, -values)


def read_truth(truth: Any, params: RankingParams) -> tuple[pa.Table, Doubles]:
    """Returns the table, and the value of each row; NaN for null."""
    table = to_arrow_table(truth, TRUTH)
    value = (params.gain_column,) if params.reads_value else ()
    require_names(table, (USER_ID, ITEM_ID, *value), TRUTH)
    if not value:
        return table, np.ones(table.num_rows)
    values, null = doubles_and_nulls(table[value[0]], value[0], TRUTH)
    return table, np.where(null, np.nan, values)


def ranked(users: Ints, items: Ints, keys: Doubles, longest: int) -> Lists:
    """Returns the lists, at most `longest` long; ties go to the smaller item; ignores null ids."""
    known = np.flatnonzero((users >= 0) & (items >= 0))
    order = known[np.lexsort((items[known], keys[known], users[known]))]
    users, items = users[order], items[order]
    first = np.sort(np.unique(users * (items.max(initial=0) + 1) + items, return_index=True)[1])
    users, items = users[first], items[first]
    starts = np.searchsorted(users, users)
    places = np.arange(len(users)) - starts + 1
    kept = places <= longest
    return Lists(users[kept], items[kept], places[kept])


def true_items(users: Ints, items: Ints, values: Doubles, params: RankingParams) -> Truth:
    """Returns each true item once, with its highest value; ignores null items."""
    known = np.flatnonzero(items >= 0)
    values = np.where(np.isnan(values), -np.inf, values)
    order = known[np.lexsort((values[known], items[known], users[known]))]
    users, items, values = users[order], items[order], values[order]
    same = (users[1:] == users[:-1]) & (items[1:] == items[:-1])
    last = np.flatnonzero(np.append(~same, np.ones(min(1, len(users)), bool)))
    users, items, values = users[last], items[last], values[last]
    relevant = np.ones(len(values), bool)
    if params.relevant_from is not None:
        relevant = values >= params.relevant_from
    gains = {
        "binary": relevant.astype(np.float64),
        "linear": values,
        "exponential": np.power(2.0, values) - 1,
    }[params.gain]
    return Truth(users, items, np.maximum(gains, 0.0), relevant)
