"""Reads the columns of a request in the formats of MLflow's and KServe's protocols."""

import json
from collections.abc import Callable, Mapping
from typing import Any

from matchlake.serve.errors import RequestError

Columns = dict[str, list[Any]]
FORMS = ("dataframe_records", "dataframe_split", "inputs")


def parsed(body: bytes) -> dict[str, Any]:
    """Parses a body as a JSON object; raises RequestError for anything else."""
    try:
        data = _DECODER.decode(body.decode())
    except (ValueError, RecursionError):
        raise RequestError("The body is not valid UTF-8 JSON.") from None
    if not isinstance(data, dict):
        raise RequestError("The body must be a JSON object.")
    return data


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in found if names.count(name) > 1)
        raise RequestError(f"An object contains the key {_name(twice)} twice.", twice)
    return found


_DECODER = json.JSONDecoder(object_pairs_hook=_object)


def invocation(data: dict[str, Any]) -> tuple[Columns, dict[str, Any]]:
    """Returns the columns and the parameters of a request to /invocations.

    A value that is missing in a record is null. Raises RequestError for other formats.
    """
    params = data.pop("params", None)
    if params is not None and not isinstance(params, dict):
        raise RequestError("params must be an object.", "params")
    if len(data) != 1 or next(iter(data)) not in FORMS:
        found = ", ".join(sorted(map(_name, data))) or "nothing"
        raise RequestError(f"The body must have one of {', '.join(FORMS)}; it has {found}.")
    form, value = next(iter(data.items()))
    return _READERS[form](value), params or {}


def _records(rows: Any) -> Columns:
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise RequestError(
            "dataframe_records must be a list of objects, one per row.", "dataframe_records"
        )
    if len(rows) == 1:
        return {name: [value] for name, value in rows[0].items()}
    names = dict.fromkeys(name for row in rows for name in row)
    for number, row in enumerate(rows):
        if len(row) != len(names):
            missing = next(name for name in names if name not in row)
            raise RequestError(f"Row {number} has no column {_name(missing)}.", missing)
    return {name: [row[name] for row in rows] for name in names}


def _split(table: Any) -> Columns:
    if not isinstance(table, dict) or not {"columns", "data"} <= set(table):
        raise RequestError(
            "dataframe_split must be an object with columns and data.", "dataframe_split"
        )
    extra = set(table) - {"columns", "data", "index"}
    if extra:
        name = min(extra)
        raise RequestError(f"dataframe_split has no key {_name(name)}.", name)
    names, rows = table["columns"], table["data"]
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise RequestError("columns must be a list of strings.", "columns")
    if len(set(names)) != len(names):
        raise RequestError("columns contains a name twice.", "columns")
    if not isinstance(rows, list):
        raise RequestError("data must be a list of rows.", "data")
    for number, row in enumerate(rows):
        if not isinstance(row, list) or len(row) != len(names):
            raise RequestError(f"Row {number} must be a list of {len(names)} values.", "data")
    return {name: [row[position] for row in rows] for position, name in enumerate(names)}


def _inputs(table: Any) -> Columns:
    if not isinstance(table, dict):
        raise RequestError("inputs must be an object: a list of values per column.", "inputs")
    columns = {n: v if isinstance(v, list) else [v] for n, v in table.items()}
    lengths = {len(values) for values in columns.values()}
    if len(lengths) > 1:
        raise RequestError("The columns of inputs have different lengths.", "inputs")
    return columns


_READERS: Mapping[str, Callable[[Any], Columns]] = {
    "dataframe_records": _records,
    "dataframe_split": _split,
    "inputs": _inputs,
}

_DATATYPES = frozenset(
    (
        *(f"{kind}{bits}" for kind in ("INT", "UINT") for bits in (8, 16, 32, 64)),
        *("BOOL", "FP32", "FP64", "BYTES"),
    )
)
_TENSOR_KEYS = frozenset(("name", "shape", "datatype", "data", "parameters"))


def tensors(data: dict[str, Any]) -> Columns:
    """Returns the columns of a request in KServe's protocol; raises RequestError."""
    extra = set(data) - {"id", "inputs", "outputs", "parameters"}
    if extra:
        raise RequestError(f"The body has no key {_name(min(extra))}.", min(extra))
    listed = data.get("inputs")
    if not isinstance(listed, list) or not listed:
        raise RequestError("inputs must be a list of tensors.", "inputs")
    columns: Columns = {}
    for tensor in listed:
        name, values = _tensor(tensor)
        if name in columns:
            raise RequestError(f"inputs contains {_name(name)} twice.", name)
        columns[name] = values
    if len({len(values) for values in columns.values()}) > 1:
        raise RequestError("The tensors of inputs have different numbers of rows.", "inputs")
    return columns


def _tensor(tensor: Any) -> tuple[str, list[Any]]:
    if not isinstance(tensor, dict) or not isinstance(tensor.get("name"), str):
        raise RequestError("A tensor must be an object with a name.", "inputs")
    name: str = tensor["name"]
    extra = set(tensor) - _TENSOR_KEYS
    if extra:
        raise RequestError(f"Tensor {_name(name)} has no key {_name(min(extra))}.", name)
    if tensor.get("datatype") not in _DATATYPES:
        kinds = ", ".join(sorted(_DATATYPES))
        raise RequestError(f"The datatype of {_name(name)} must be one of {kinds}.", name)
    shape, values = tensor.get("shape"), tensor.get("data")
    if not isinstance(shape, list) or not _is_shape(shape) or not isinstance(values, list):
        raise RequestError(f"Tensor {_name(name)} needs a shape and a list as data.", name)
    rows, *rest = shape
    if rest == [1] and len(values) == rows and all(isinstance(v, list) for v in values):
        values = [each for value in values for each in value]
    if len(rest) == 1 and rest != [1] and len(values) == rows * rest[0]:
        values = [values[begin : begin + rest[0]] for begin in range(0, len(values), rest[0])]
    if len(values) != rows or len(rest) > 1:
        raise RequestError(
            f"The data of {_name(name)} do not match its shape: [rows], or [rows, length].", name
        )
    return name, values


def _is_shape(shape: list[Any]) -> bool:
    return bool(shape) and (
        all(isinstance(n, int) and not isinstance(n, bool) and 0 <= n < 2**31 for n in shape)
    )


def _name(name: Any) -> str:
    """Returns a name for a message, shortened."""
    return repr(str(name)[:80])
