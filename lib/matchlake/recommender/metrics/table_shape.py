"""The columns of every metric as an Arrow table, as `shape.py` on Spark."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from matchlake.engine.arrow import combined
from matchlake.engine.csr import Ints
from matchlake.errors import SchemaError
from matchlake.recommender.tables import Doubles, codes_of, id_column

Flags = npt.NDArray[np.bool_]

SCHEMA = pa.schema(
    [
        ("metric", pa.string()),
        ("k", pa.int32()),
        ("value", pa.float64()),
        ("n_samples", pa.int64()),
        ("n_skipped", pa.int64()),
    ]
)


class Figure(NamedTuple):
    """One row of a metric: `n_samples` of `cases` were measured."""

    metric: str
    k: int | None
    value: float | None
    n_samples: int
    cases: int


def mean_figure(metric: str, values: Doubles, known: Flags, k: int | None = None) -> Figure:
    """Returns the mean of the known values; null without values."""
    n = int(known.sum())
    return Figure(metric, k, float(values[known].mean()) if n else None, n, len(values))


def figures_table(figures: Iterable[Figure]) -> pa.Table:
    """The rows of all figures."""
    rows = [(f.metric, f.k, f.value, f.n_samples, f.cases - f.n_samples) for f in figures]
    columns = [
        pa.array(values, field.type)
        for values, field in zip(zip(*rows, strict=True), SCHEMA, strict=True)
    ]
    return pa.Table.from_arrays(columns, schema=SCHEMA)


def doubles_and_nulls(column: pa.ChunkedArray, name: str, what: str) -> tuple[Doubles, Flags]:
    """Returns numbers as doubles, and which are null; NaN of Arrow or Polars is not null."""
    kind = column.type
    numeric = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_null(kind)
    if not (numeric or pa.types.is_decimal(kind)):
        raise SchemaError(
            f"{name} of {what} has the type {kind}, but must be a number. Convert the column first."
        )
    null = np.asarray(combined(column.is_null()))
    values = combined(pc.fill_null(column.cast(pa.float64(), safe=False), 0.0))
    return np.asarray(values), null


def common_codes(name: str, *tables: tuple[pa.Table, str]) -> list[Ints]:
    """Returns common codes for the ids in column `name` of several named tables.

    Null is -1. Raises SchemaError if some are strings and others integers.
    """
    columns = [id_column(table[name], name, what) for table, what in tables]
    texts = {pa.types.is_string(column.type) for column in columns if len(column)}
    if len(texts) > 1:
        shown = ", ".join(f"{what} {c.type}" for c, (_, what) in zip(columns, tables, strict=True))
        raise SchemaError(f"{name} has different types: {shown}. Convert one of them.")
    kind = pa.string() if texts == {True} else pa.int64()
    every = [column.cast(kind) if len(column) else pa.chunked_array([], kind) for column in columns]
    codes = codes_of(pa.chunked_array([chunk for c in every for chunk in c.chunks], kind))[0]
    ends = np.cumsum([len(column) for column in columns])
    return np.split(codes, ends[:-1])
