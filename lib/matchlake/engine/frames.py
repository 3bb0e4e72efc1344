"""Tables from outside as Arrow tables: pandas, Polars, Arrow, and whatever else gives Arrow data.

Nothing here imports Spark, Polars or SciPy: a Spark frame is known by the name of its class, a
sparse matrix by its methods, and all others give their rows through Arrow's PyCapsule interface.
"""

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from matchlake.errors import InputError, SchemaError

POSSIBLE = (
    "Possible are a Spark, pandas or Polars DataFrame, an Arrow table, any other table with "
    "__arrow_c_stream__ and, where pairs of ids are read, a SciPy sparse matrix."
)
_STREAM = "__arrow_c_stream__"
_ADVICE = {
    "NoneType": "Pass the rows.",
    "list": "Make a table of it: pandas.DataFrame(rows).",
    "dict": "Make a table of it: pandas.DataFrame(columns).",
    "ndarray": "Give its columns names: pandas.DataFrame(array, columns=[...]).",
    "LazyFrame": "Compute it first: frame.collect().",
    "Series": "Make a table of it: series.to_frame().",
    "ChunkedArray": "Make a table of it: pyarrow.table({name: column}).",
    "RDD": "Make a frame of it: rdd.toDF().",
}


class ArrowStream(Protocol):
    """A table of pandas, Polars, Arrow or any other library that gives Arrow data."""

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """The rows, as Arrow's PyCapsule interface passes them."""


class SparseMatrix(Protocol):
    """A sparse matrix of SciPy."""

    def tocsr(self) -> Any:
        """The matrix as compressed rows."""


Rows = ArrowStream | SparseMatrix
"""What needs no Spark: a table, or a sparse matrix whose row and column numbers are the ids."""


def is_spark(data: object) -> bool:
    """Whether `data` is a Spark DataFrame, classic or of Spark Connect."""
    return any(
        kind.__name__ == "DataFrame" and kind.__module__.startswith("pyspark.sql.")
        for kind in type(data).__mro__
    )


def is_sparse(data: object) -> bool:
    """Whether `data` is a sparse matrix of SciPy."""
    return hasattr(data, "tocsr") and hasattr(data, "nnz")


def is_table(data: object) -> bool:
    """Whether `data` has rows and columns that `to_arrow_table` can read."""
    if type(data).__name__ in _ADVICE or is_spark(data):
        return False
    return _is_pandas(data) or hasattr(data, _STREAM)


def to_arrow_table(data: Any, what: str) -> pa.Table:
    """The rows of `data`, called `what` in messages; NaN of pandas is null, as pandas means it.

    Raises InputError for anything without rows and columns, SchemaError for a column of mixed
    types.
    """
    if isinstance(data, pa.Table):
        return data
    if not is_table(data):
        raise _not_a_table(data, what)
    try:
        if _is_pandas(data):
            return pa.Table.from_pandas(data, preserve_index=False)
        return pa.RecordBatchReader.from_stream(data).read_all()
    except (pa.ArrowException, TypeError, ValueError) as error:
        first = str(error).strip().partition("\n")[0]
        raise SchemaError(
            f"{what} cannot be read as a table: {first}. Give every column one type and a name."
        ) from error


def require_spark(data: object, what: str) -> None:
    """Raises InputError unless `data`, called `what`, is None or a Spark frame."""
    if data is not None and not is_spark(data):
        raise InputError(
            f"{what} cannot be a {type(data).__name__} here, because the other arguments are Spark "
            "frames. Pass spark.createDataFrame(...), or use no Spark frame at all."
        )


def as_given(table: pa.Table, given: object) -> Any:
    """`table` as a frame of the library of `given`: pandas or Polars; otherwise as it is."""
    library = type(given).__module__.partition(".")[0]
    if library == "pandas":
        return table.to_pandas()
    return type(given)(table) if library == "polars" else table  # type: ignore[call-arg]


def keep_rows(data: Any, kept: npt.NDArray[np.bool_]) -> Any:
    """The rows of a table, or the entries of a sparse matrix by row, where `kept`."""
    if is_sparse(data):
        rows = data.tocsr()
        indptr = np.concatenate([[0], np.cumsum(kept)])[rows.indptr]
        return type(rows)((rows.data[kept], rows.indices[kept], indptr), shape=rows.shape)
    if _is_pandas(data):
        return data[kept]
    return data.filter(kept if hasattr(data, "lazy") else pa.array(kept))


def _is_pandas(data: object) -> bool:
    kind = type(data)
    return kind.__name__ == "DataFrame" and kind.__module__.startswith("pandas.")


def _not_a_table(data: object, what: str) -> InputError:
    name = type(data).__name__
    if is_spark(data):
        return InputError(
            f"{what} cannot be a Spark DataFrame here, because the other arguments are in memory. "
            "Pass frame.toArrow() or frame.toPandas(), or use Spark frames everywhere."
        )
    given = "None" if data is None else f"a {type(data).__module__}.{name}"
    given = given.replace("builtins.", "")
    advice = _ADVICE.get(name, "")
    return InputError(f"{what} cannot be {given}. {POSSIBLE} {advice}".strip())
