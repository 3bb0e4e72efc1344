"""Converts the input of a caller to the rows that a served model scores."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from matchlake.errors import SchemaError
from matchlake.recommender.id_types import exact_ids

EXCLUDE = "exclude_seen"
"""Column with a list of item ids per row."""

_EXAMPLE = '{"dataframe_records": [{"user_id": ..., "item_id": ...}]}'


def rows_of(sent: pd.DataFrame, *required: str) -> pd.DataFrame:
    """Returns the rows of `sent`; MLflow passes columns of lists as one row, which is unpacked.

    Raises SchemaError for missing columns, and for columns of different lengths.
    """
    missing = [name for name in required if name not in sent]
    if missing:
        raise SchemaError.missing("the input", missing, map(str, sent.columns))
    if len(sent) != 1 or not _is_list(sent[required[0]].iloc[0]):
        return sent
    columns = {str(name): sent[name].iloc[0] for name in sent}
    size = len(columns[required[0]])
    if EXCLUDE in columns:
        columns[EXCLUDE] = _exclusions(columns[EXCLUDE], size)
    columns = {name: values for name, values in columns.items() if not _is_null(values)}
    lengths = {name: len(values) if _is_list(values) else 1 for name, values in columns.items()}
    if set(lengths.values()) != {size}:
        shown = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise SchemaError(
            f"The columns of the input have different lengths: {shown}. Send columns of one "
            f"length, or one record per row: {_EXAMPLE}."
        )
    return pd.DataFrame({name: list(values) for name, values in columns.items()}, dtype=object)


def ids_of(rows: pd.DataFrame, name: str, known: Mapping[Any, int]) -> list[Any]:
    """Returns the ids of a column in the type of the `known` ids; None for null.

    For example, an integer becomes a string if ids are strings. Raises SchemaError for an id that
    cannot be converted exactly, because it would silently be treated as unknown.
    """
    return exact_ids(rows[name].to_list(), known, name)


def exclusions_of(rows: pd.DataFrame, known: Mapping[Any, int]) -> list[Sequence[Any]]:
    """Returns the items not to recommend, per row; empty if none were sent.

    Raises SchemaError for a value that is not a list, and for items as `ids_of` does.
    """
    sent: list[Any] = rows[EXCLUDE].to_list() if EXCLUDE in rows else [None] * len(rows)
    for value in sent:
        if not _is_list(value) and not _is_null(value):
            raise SchemaError(
                f"{EXCLUDE} {value!r} is not a list. Send a list of item ids per row, or null."
            )
    return [() if _is_null(value) else exact_ids(list(value), known, EXCLUDE) for value in sent]


def _exclusions(values: Any, size: int) -> Any:
    """Returns a list, or null, per user; a flat list is that of a single user."""
    if _is_list(values) and size == 1 and not any(_is_list(v) or _is_null(v) for v in values):
        return [values]
    return values


def _is_list(value: Any) -> bool:
    return isinstance(value, (list, tuple)) or (isinstance(value, np.ndarray) and value.ndim > 0)


def _is_null(value: Any) -> bool:
    return value is None or (not _is_list(value) and bool(pd.isna(value)))
