"""Converts ids to the type of a model's ids if this is exact, and refuses other ids."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from matchlake.engine.csr import Ints
from matchlake.errors import InputError, SchemaError


def is_null(value: object) -> bool:
    """Returns whether a value is None, NaN, NaT or pandas' NA."""
    if value is None or value is pd.NA or value is pd.NaT:
        return True
    return isinstance(value, float | np.floating) and bool(np.isnan(value))


def exact_id(value: Any, sample: Any, name: str = "an id") -> Any:
    """Returns `value` in the type of `sample`, an id of the model; None for null.

    If ids are strings, an integer becomes a string. If ids are integers, a string of digits, or a
    float without a fraction, becomes an integer. Raises SchemaError for other values.
    """
    if is_null(value):
        return None
    plain = value.item() if isinstance(value, np.generic) else value
    number = isinstance(plain, int) and not isinstance(plain, bool)
    if isinstance(sample, str):
        if isinstance(plain, str):
            return plain
        if number:
            return str(plain)
    elif number:
        return plain
    elif (isinstance(plain, float) and plain.is_integer()) or (
        isinstance(plain, str) and _is_plain_number(plain)
    ):
        return int(plain)
    words = "strings" if isinstance(sample, str) else "integers"
    raise SchemaError(
        f"{name} {plain!r} has the type {type(plain).__name__}, but the ids of this model are "
        f"{words}, such as {sample!r}, and it cannot be converted exactly. Pass {words}."
    )


def exact_ids(ids: Sequence[Any], places: Mapping[Any, int], name: str = "an id") -> list[Any]:
    """Returns `ids` in the type of the keys of `places`; None for null."""
    sample = next(iter(places), None)
    if sample is None:
        return [None if is_null(value) else value for value in ids]
    return [exact_id(value, sample, name) for value in ids]


def places_of(places: Mapping[Any, int], ids: Sequence[Any]) -> Ints:
    """The row of each id; -1 for unknown and null ids."""
    found: Ints = np.array([places.get(key, -1) for key in exact_ids(ids, places)], np.int64)
    return found


def known_place(places: Mapping[Any, int], key: Any, name: str) -> int:
    """The row of an id; raises KeyError if it is unknown, InputError if it is null."""
    return places[exact_ids([required(key, name)], places, name)[0]]


def required(key: Any, name: str) -> Any:
    """Returns `key`, the id of one query; raises InputError if it is null or several ids."""
    if is_null(key):
        raise InputError(f"{name} is null: pass an id, or a table with many of them.")
    if isinstance(key, list | dict | set | np.ndarray | pd.Series):
        raise InputError(
            f"{name} is a {type(key).__name__}: pass one id, or a table with a column of ids, such "
            "as pandas.DataFrame({'user_id': ids})."
        )
    return key


def listed(ids: Any, name: str) -> Sequence[Any]:
    """Returns several ids as a list; raises InputError for a single id, and for other values."""
    if isinstance(ids, str | bytes) or not hasattr(ids, "__iter__"):
        raise InputError(
            f"{name} is of type {type(ids).__name__}: pass a list of ids, or a table with a column "
            "of them."
        )
    return [*ids]


def _is_plain_number(text: str) -> bool:
    """Returns whether the string is an integer without blanks or leading zeros."""
    try:
        return str(int(text)) == text
    except ValueError:
        return False
