"""Reads the interactions of a linear fit from a table, as a matrix users x items."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from matchlake.engine.arrow import list_array
from matchlake.engine.csr import Csr, Ints, csr_from_pairs
from matchlake.recommender.interaction_spec import InteractionSpec
from matchlake.recommender.interaction_stats import VALUE, InteractionStats
from matchlake.recommender.packed_interactions import dense_places, unpack_pairs
from matchlake.recommender.sides import ITEM, KEYS, USER
from matchlake.recommender.table_interactions import WHAT, pack_table, prepare_table
from matchlake.recommender.tables import numbers, read_interactions
from matchlake.schemas import ITEM_ID, USER_ID

SPEC = InteractionSpec(VALUE, centered=False, duplicates="sum")
"""The rules for interactions: repeated pairs are summed, and values may be below 0."""

USER_COLUMNS = ("n_interactions", "history", "values")
_ROWS = 1 << 14
"""The number of users in a batch."""


class IdMatrix(NamedTuple):
    """A matrix users x items, with the ids of both."""

    rows: Csr
    ids: tuple[pa.Array, pa.Array]


def pack_rows(interactions: Any, column: str | None) -> tuple[pa.Table, InteractionStats]:
    """Packs the pairs of a table or a sparse matrix, with the values of `column`, or 1.

    Rows with nulls are left out. Raises InputError if values are not finite, and without rows.
    """
    table = read_interactions(interactions, () if column is None else (column,), WHAT)
    if column is None:
        pairs = table.drop_null().group_by(list(KEYS)).aggregate([])
        known = pairs.append_column(VALUE, pa.array(np.ones(pairs.num_rows)))
    else:
        values = pa.array(numbers(table[column], column, WHAT), from_pandas=True)
        known = table.set_column(2, VALUE, values).drop_null()
    return pack_table(prepare_table(known, SPEC), SPEC)


def matrix_of_packed(data: pa.ChunkedArray) -> IdMatrix:
    """Returns packed interactions as a matrix users x items."""
    pairs = unpack_pairs(data)
    users, items = dense_places(pairs[USER_ID]), dense_places(pairs[ITEM_ID])
    shape = len(users.ids), len(items.ids)
    rows = csr_from_pairs(users.places, items.places, np.asarray(pairs[VALUE]), shape)
    return IdMatrix(rows, (users.ids, items.ids))


def user_batches(matrix: IdMatrix) -> Iterator[dict[str, pa.Array]]:
    """Yields the columns of users: ids, indices and histories."""
    rows = matrix.rows
    for begin in range(0, rows.rows, _ROWS):
        part = slice(begin, min(begin + _ROWS, rows.rows))
        bounds = rows.indptr[part.start : part.stop + 1]
        entries = slice(bounds[0], bounds[-1])
        histories = {
            "history": list_array(bounds - bounds[0], rows.columns[entries]),
            "values": list_array(bounds - bounds[0], rows.values[entries]),
        }
        yield side_columns(matrix, USER, part, np.diff(bounds)) | histories


def item_counts(matrix: IdMatrix) -> Ints:
    """The number of interactions of each item."""
    return np.bincount(matrix.rows.columns, minlength=matrix.rows.width)


def side_columns(matrix: IdMatrix, side: int, part: slice, counts: Ints) -> dict[str, pa.Array]:
    """Returns the common columns of users and items, for the rows `part` with `counts`."""
    return {
        "side": pa.array(np.full(part.stop - part.start, side, np.int32)),
        KEYS[side]: matrix.ids[side][part],
        "idx": pa.array(np.arange(part.start, part.stop)),
        "n_interactions": pa.array(np.asarray(counts, np.int64)),
    }


def filled(columns: dict[str, pa.Array], kinds: dict[str, pa.DataType]) -> pa.RecordBatch:
    """Returns a batch with all columns of `kinds`; missing columns are null."""
    size = len(next(iter(columns.values())))
    arrays = [columns.get(name, pa.nulls(size, kind)) for name, kind in kinds.items()]
    return pa.RecordBatch.from_arrays(arrays, names=list(kinds))


def id_kinds(matrix: IdMatrix) -> dict[str, pa.DataType]:
    """The columns of all rows of users and items."""
    return {
        "side": pa.int32(),
        **{KEYS[side]: matrix.ids[side].type for side in (USER, ITEM)},
        "idx": pa.int64(),
        "n_interactions": pa.int64(),
        "history": pa.list_(pa.int32()),
        "values": pa.list_(pa.float32()),
    }
