"""Reads interactions from tables of any library, as checked Arrow and NumPy arrays."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from matchlake.engine.arrow import combined
from matchlake.engine.csr import Ints
from matchlake.engine.frames import is_sparse, to_arrow_table
from matchlake.errors import InputError, SchemaError
from matchlake.schemas import EVENT_TIME, ITEM_ID, USER_ID

Doubles = npt.NDArray[np.float64]

OLDEST = np.iinfo(np.int64).min
"""The time of a row without a time."""


def read_interactions(data: Any, further: Sequence[str], what: str) -> pa.Table:
    """Reads `user_id` and `item_id`, as strings or integers, and the `further` columns of `data`.

    The ids of a sparse matrix are its row and column numbers, and its values are the one column of
    `further`. Raises InputError if `data` is not a table, SchemaError for missing columns or wrong
    types.
    """
    table = _of_sparse(data, further, what) if is_sparse(data) else to_arrow_table(data, what)
    require_names(table, (USER_ID, ITEM_ID, *further), what)
    ids = {name: id_column(table[name], name, what) for name in (USER_ID, ITEM_ID)}
    return pa.table({**ids, **{name: table[name] for name in further}})


def require_names(table: pa.Table, names: Sequence[str], what: str) -> None:
    """Raises SchemaError unless the table, called `what` in the message, has all columns."""
    missing = [name for name in names if name not in table.column_names]
    if missing:
        raise SchemaError.missing(what, missing, table.column_names)


def id_column(column: pa.ChunkedArray, name: str, what: str) -> pa.ChunkedArray:
    """Returns ids as Arrow strings, or as signed integers; nulls stay."""
    column = plain_texts(column)
    kind = column.type
    if pa.types.is_string(kind) or pa.types.is_signed_integer(kind):
        return column
    if pa.types.is_unsigned_integer(kind):
        return column.cast(pa.int64())
    advice = "Convert the column first."
    if pa.types.is_floating(kind):
        advice = "pandas converts integers with missing values to floats: use the type Int64."
    raise SchemaError(
        f"{name} of {what} has the type {kind}, but ids must be strings or integers. {advice}"
    )


def plain_texts(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Returns a column of any Arrow string type, or of only nulls, as plain strings."""
    if pa.types.is_dictionary(column.type):
        return plain_texts(_decoded(column))
    kind = column.type
    if pa.types.is_null(kind) or pa.types.is_large_string(kind) or str(kind) == "string_view":
        return column.cast(pa.string())
    return column


def _decoded(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Returns a column of categories as its values."""
    kind = column.type.value_type
    # Arrow cannot decode categories of the type string_view, which Polars returns.
    kind = pa.string() if str(kind) == "string_view" else kind
    chunks = [
        pa.DictionaryArray.from_arrays(chunk.indices, chunk.dictionary.cast(kind))
        for chunk in column.chunks
    ]
    return pa.chunked_array([chunk.dictionary_decode() for chunk in chunks], kind)


def numbers(column: pa.ChunkedArray, name: str, what: str) -> Doubles:
    """Returns a column of numbers as doubles, NaN for null; raises SchemaError for other types."""
    kind = column.type
    numeric = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_null(kind)
    if not (numeric or pa.types.is_decimal(kind)):
        raise SchemaError(
            f"{name} of {what} has the type {kind}, but must be a number. Convert the column first."
        )
    doubles: Doubles = combined(column.cast(pa.float64(), safe=False)).to_numpy(
        zero_copy_only=False
    )
    return doubles


def times(column: pa.ChunkedArray, what: str) -> Ints:
    """Returns a column of times as microseconds since 1970, `OLDEST` for null."""
    kind = column.type
    if pa.types.is_date(kind):
        column = column.cast(pa.timestamp("s"))
    elif not pa.types.is_timestamp(kind) and not pa.types.is_null(kind):
        raise SchemaError(
            f"{EVENT_TIME} of {what} has the type {kind}, but must be a timestamp or a date. "
            "In pandas: pandas.to_datetime(column, utc=True)."
        )
    zone = getattr(column.type, "tz", None)
    micros = column.cast(pa.timestamp("us", zone), safe=False).cast(pa.int64())
    whole: Ints = combined(pc.fill_null(micros, OLDEST)).to_numpy(zero_copy_only=False)
    return whole


def sums_of(groups: Ints, values: npt.NDArray[Any], size: int) -> Doubles:
    """Returns the sum of the values of each group, added in the order of the rows."""
    sums: Doubles = np.bincount(groups, values, size).astype(np.float64, copy=False)
    return sums


def codes_of(column: pa.ChunkedArray) -> tuple[Ints, pa.Array]:
    """Returns the code of each value, -1 for null, and the distinct values in sorted order."""
    encoded = combined(column).dictionary_encode()
    order = pc.sort_indices(encoded.dictionary)
    rank = np.full(len(order) + 1, -1, np.int64)
    rank[np.asarray(order)] = np.arange(len(order))
    indices = np.asarray(pc.fill_null(encoded.indices, -1))
    return rank[indices], encoded.dictionary.take(order)


def _of_sparse(matrix: Any, further: Sequence[str], what: str) -> pa.Table:
    if EVENT_TIME in further or len(further) > 1:
        raise InputError(
            f"{what} cannot be a sparse matrix here: it has one value per pair, but the columns "
            f"{', '.join(further)} are needed. Pass a table."
        )
    rows = matrix.tocsr()
    users = np.repeat(np.arange(rows.shape[0]), np.diff(rows.indptr))
    columns = {USER_ID: users, ITEM_ID: np.asarray(rows.indices, np.int64)}
    return pa.table({**columns, **{name: np.asarray(rows.data) for name in further}})
