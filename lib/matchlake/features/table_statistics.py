"""The statistics that a fit needs of an Arrow table: as `statistics.py` takes them on Spark."""

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from matchlake.errors import SchemaError
from matchlake.features.numpy_values import Doubles, floats, is_null, listed, text_of
from matchlake.features.requests import (
    CategoryCounts,
    CategoryRequest,
    NumberRequest,
    Request,
    Statistics,
)

_TYPES: dict[pa.DataType, str] = {
    pa.int8(): "tinyint",
    pa.int16(): "smallint",
    pa.int32(): "int",
    pa.int64(): "bigint",
    pa.uint8(): "smallint",
    pa.uint16(): "int",
    pa.uint32(): "bigint",
    pa.float16(): "float",
    pa.float32(): "float",
    pa.float64(): "double",
    pa.bool_(): "boolean",
    pa.string(): "string",
    pa.large_string(): "string",
    pa.date32(): "date",
    pa.date64(): "date",
}

_FIGURES: dict[str, Callable[[Doubles], float]] = {
    "mean": lambda values: float(values.mean()),
    "std": lambda values: float(values.std()),
    "log_mean": lambda values: float(np.log(values[values > 0]).mean()),
    "log_std": lambda values: float(np.log(values[values > 0]).std()),
    "mode": lambda values: float(_mode(values)),
}


def spark_types(table: pa.Table) -> dict[str, str]:
    """The type of each column, as Spark names it; Arrow's own name where Spark has no such type."""
    return {field.name: _spark_type(field.type) for field in table.schema}


def table_statistics(table: pa.Table, requests: Mapping[str, Request]) -> Statistics:
    """The answers to all requests, from the rows of `table`."""
    types = spark_types(table)
    found: dict[str, Any] = {}
    for name, request in requests.items():
        column = table[request.column]
        if isinstance(request, NumberRequest):
            found[name] = _number(column, request)
        else:
            found[name] = _categories(column, request, types[request.column])
    return Statistics(table.num_rows, found)


def _spark_type(kind: pa.DataType) -> str:
    if pa.types.is_dictionary(kind):
        return _spark_type(kind.value_type)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return f"array<{_spark_type(kind.value_type)}>"
    if pa.types.is_decimal(kind):
        return f"decimal({kind.precision},{kind.scale})"
    if str(kind) == "string_view":  # Arrow before 16 has no such type.
        return "string"
    return "timestamp" if pa.types.is_timestamp(kind) else _TYPES.get(kind, str(kind))


def _number(column: pa.ChunkedArray, request: NumberRequest) -> dict[str, Any]:
    values = floats(column.to_pandas())
    finite = np.sort(values[np.isfinite(values)])
    figures: dict[str, Any] = {
        "rows": len(finite),
        "missing": int(np.isnan(values).sum()),
        "infinite": int(np.isinf(values).sum()),
        "minimum": float(finite[0]) if len(finite) else None,
        "maximum": float(finite[-1]) if len(finite) else None,
    }
    for name in request.needs:
        usable = len(finite) and (not name.startswith("log_") or finite[-1] > 0)
        figures[name] = _FIGURES[name](finite) if usable else None
    ranks = [max(0, int(np.ceil(share * len(finite))) - 1) for share in request.quantiles]
    values_at = [float(finite[rank]) for rank in ranks] if len(finite) else []
    figures["quantiles"] = tuple(zip(request.quantiles, values_at, strict=False))
    return figures


def _mode(values: Doubles) -> float:
    """The most frequent value; of several, the smallest."""
    distinct, counts = np.unique(values, return_counts=True)
    return float(distinct[np.argmax(counts)])


def _categories(
    column: pa.ChunkedArray, request: CategoryRequest, type_name: str
) -> CategoryCounts:
    values = [None if is_null(value) else value for value in column.to_pylist()]
    missing, known = sum(value is None for value in values), set(request.known)
    text = text_of(type_name.removeprefix("array<").removesuffix(">"))
    counts: Counter[str] = Counter()
    try:
        for value in values:
            if value is not None:
                each = listed(value) if request.is_list else [value]
                counts.update({text(part) for part in each if not is_null(part)})
    except SchemaError as error:
        raise SchemaError(f"Column {request.column}: {error}") from None
    kept = [(value, n) for value, n in counts.items() if value in known or n >= request.min_rows]
    kept.sort(key=lambda pair: (pair[0] not in known, -pair[1], pair[0].encode()))
    limited = kept[: request.limit + len(known)]
    limited.sort(key=lambda pair: (-pair[1], pair[0].encode()))
    return CategoryCounts(sum(counts.values()), missing, tuple(limited))
