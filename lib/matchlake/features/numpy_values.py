"""Python and NumPy values of a column as category texts, lists and doubles."""

import math
import sys
from collections.abc import Callable, Mapping
from datetime import date, datetime
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt

from matchlake.errors import SchemaError

Indices = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]
Doubles = npt.NDArray[np.float64]


def text_of(type_name: str) -> Callable[[Any], str]:
    """A function from a value of this Spark type, not null, to its text in Spark."""
    if type_name == "string":
        return _text
    if type_name == "boolean":
        return _truth
    if type_name == "date":
        return _day
    return _whole


def is_null(value: Any) -> bool:
    """Whether a single value is None, NaN, NaT or pandas' NA."""
    if value is None:
        return True
    # Without pandas there is no value of pandas. Reading conf loads this module, and not pandas.
    pandas = sys.modules.get("pandas")
    if pandas is not None and (value is pandas.NA or value is pandas.NaT):
        return True
    return isinstance(value, float | np.floating) and math.isnan(value)


def find_positions(
    values: npt.ArrayLike, positions: Mapping[str, int], unknown: int, text: Callable[[Any], str]
) -> tuple[Indices, Flags]:
    """The position of every value, `unknown` for an unknown one, and which values are null.

    Every distinct value becomes a text and is looked up once.
    """
    import pandas as pd  # noqa: PLC0415 - a second, and reading conf loads this module

    column = pd.Series(values, dtype=object) if isinstance(values, list) else pd.Series(values)
    codes, distinct = pd.factorize(column)
    null = codes < 0
    known = np.array([positions.get(text(value), unknown) for value in distinct], dtype=np.int64)
    if not len(known):
        return np.zeros(len(codes), dtype=np.int64), null
    return known[codes], null


def flatten_lists(values: npt.ArrayLike) -> tuple[Indices, list[Any], Flags]:
    """The row and the value of every element of a list column, and which lists are null.

    Raises SchemaError for a value that is neither a list nor null.
    """
    is_plain = isinstance(values, list) or hasattr(values, "iloc")  # a Series of pandas
    lists = list(values) if is_plain else list(np.asarray(values))  # type: ignore[arg-type]
    null = np.array([is_null(each) for each in lists], dtype=bool)
    full = [() if empty else listed(each) for each, empty in zip(lists, null, strict=True)]
    rows = np.repeat(np.arange(len(full)), [len(each) for each in full])
    return rows, list(chain.from_iterable(full)), null


def listed(value: Any) -> "list[Any] | tuple[Any, ...] | npt.NDArray[Any]":
    """A value of a list column, not null; raises SchemaError unless it is a list."""
    if not isinstance(value, list | tuple | np.ndarray):
        raise SchemaError(f"Expected a list, but found a value of type {type(value).__name__}.")
    return value


def floats(values: npt.ArrayLike) -> Doubles:
    """A numeric column as doubles with NaN for every null."""
    if isinstance(values, np.ndarray) and values.dtype.kind in "fiub":
        return values.astype(np.float64)
    import pandas as pd  # noqa: PLC0415 - a second, and reading conf loads this module

    column = values if isinstance(values, pd.Series) else pd.Series(values, dtype=object)
    return np.asarray(column.to_numpy(dtype=np.float64, na_value=np.nan), dtype=np.float64)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise SchemaError(f"Expected a string, but found a value of type {type(value).__name__}.")
    return value


def _truth(value: Any) -> str:
    if isinstance(value, str) or value not in (0, 1):
        raise SchemaError(f"Expected true or false, but found {value!r}.")
    return "true" if value else "false"


def _whole(value: Any) -> str:
    if value != int(value):
        raise SchemaError(f"Expected a whole number, but found {value!r}.")
    return str(int(value))


def _day(value: Any) -> str:
    if isinstance(value, np.datetime64):
        value = value.astype("datetime64[us]").item()
    if isinstance(value, datetime):
        value = value.date()
    if not isinstance(value, date):
        raise SchemaError(f"Expected a date, but found a value of type {type(value).__name__}.")
    return value.isoformat()
