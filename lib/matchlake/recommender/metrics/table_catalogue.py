"""`item_catalogue` and `catalogue_metrics` of tables, without Spark."""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from matchlake.engine.arrow import combined
from matchlake.engine.csr import Ints
from matchlake.engine.frames import as_given, to_arrow_table
from matchlake.recommender.metrics.params import RankingParams
from matchlake.recommender.metrics.table_lists import LISTS, Lists, ranked, read_lists
from matchlake.recommender.metrics.table_shape import (
    Figure,
    common_codes,
    doubles_and_nulls,
    figures_table,
    mean_figure,
)
from matchlake.recommender.tables import (
    Doubles,
    codes_of,
    read_interactions,
    require_names,
    sums_of,
)
from matchlake.schemas import ITEM_ID, USER_ID

POPULARITY, VECTOR = "popularity", "vector"
_WHAT = "catalogue"


def catalogue_table(train: Any, vectors: Any, vector: str) -> Any:
    """`item_catalogue` of tables."""
    table = read_interactions(train, (), "train")
    pairs = table.group_by([USER_ID, ITEM_ID]).aggregate([])
    users = len(pc.unique(pairs[USER_ID]).drop_null())
    codes, ids = codes_of(pairs[ITEM_ID])
    counts = np.bincount(codes[codes >= 0], minlength=len(ids))
    items = pa.table({ITEM_ID: ids, POPULARITY: pa.array(counts / max(1, users))})
    if vectors is not None:
        rows = to_arrow_table(vectors, "vectors")
        require_names(rows, (ITEM_ID, vector), "vectors")
        at = pc.index_in(items[ITEM_ID], rows[ITEM_ID].cast(items.schema.field(ITEM_ID).type))
        items = items.append_column(VECTOR, rows[vector].take(at))
    return as_given(items, train)


def catalogue_figures(recommendations: Any, catalogue: Any, params: RankingParams) -> Any:
    """`catalogue_metrics` of tables."""
    table, keys = read_lists(recommendations)
    items = to_arrow_table(catalogue, _WHAT)
    require_names(items, (ITEM_ID, POPULARITY), _WHAT)
    own, known = common_codes(ITEM_ID, (table, LISTS), (items, _WHAT))
    (users,) = common_codes(USER_ID, (table, LISTS))
    lists = ranked(users, own, keys, max(params.ks))
    row = np.full(int(max(own.max(initial=0), known.max(initial=0))) + 1, -1)
    row[known[known >= 0]] = np.flatnonzero(known >= 0)
    placed = lists._replace(users=np.unique(lists.users, return_inverse=True)[1])
    rows, size = row[placed.items], items.num_rows
    figures = []
    for k in params.ks:
        shown = np.unique(rows[(placed.places <= k) & (rows >= 0)])
        figures.append(Figure("coverage", k, len(shown) / size if size else None, size, size))
    popularity, null = doubles_and_nulls(items[POPULARITY], POPULARITY, _WHAT)
    popularity = np.where(null, np.nan, popularity)
    figures += [_novelty(placed, rows, popularity, k) for k in params.ks]
    if VECTOR in items.column_names:
        units, valid = _units(items[VECTOR])
        figures += [
            _diversity(placed, np.where(rows >= 0, rows, -1), units, valid, k) for k in params.ks
        ]
    return as_given(figures_table(figures), recommendations)


def _novelty(lists: Lists, rows: Ints, popularity: Doubles, k: int) -> Figure:
    """Returns the mean over users of the mean information of a list's known items, in bits."""
    size = int(lists.users.max(initial=-1)) + 1
    with np.errstate(divide="ignore", invalid="ignore"):
        bits = -np.log2(np.append(popularity, np.nan)[rows])
    known = (lists.places <= k) & (rows >= 0) & ~np.isnan(bits)
    counts = np.bincount(lists.users[known], minlength=size)
    sums = sums_of(lists.users[known], bits[known], size)
    return mean_figure("novelty", sums / np.maximum(counts, 1), counts > 0, k)


def _units(column: pa.ChunkedArray) -> tuple[Doubles, Any]:
    """Returns vectors scaled to length 1 (or zero), and which items have one."""
    whole = combined(column)
    valid = np.asarray(whole.is_valid())
    flat = np.asarray(pc.list_flatten(whole).cast(pa.float64()))
    width = len(flat) // max(1, int(valid.sum()))
    vectors = np.zeros((len(valid), width))
    vectors[valid] = flat.reshape(-1, width) if width else vectors[valid]
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(norms > 0, norms, 1.0), valid


def _diversity(lists: Lists, rows: Ints, units: Doubles, valid: Any, k: int) -> Figure:
    """Returns the mean over users of the mean 1 - cosine of a list's pairs."""
    size = int(lists.users.max(initial=-1)) + 1
    kept = (lists.places <= k) & (rows >= 0) & np.append(valid, [False])[rows]
    users, own = lists.users[kept], units[rows[kept]]
    counts = np.bincount(users, minlength=size)
    sums = np.zeros((size, units.shape[1]))
    np.add.at(sums, users, own)
    squares = sums_of(users, (own * own).sum(axis=1), size)
    cosines = ((sums * sums).sum(axis=1) - squares) / 2
    pairs = counts * (counts - 1) / 2
    return mean_figure("diversity", 1 - cosines / np.maximum(pairs, 1), counts > 1, k)
