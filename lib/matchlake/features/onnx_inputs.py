"""Columns of a table as the inputs of a feature set's ONNX graph."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from matchlake.features.fitted import FittedFeature
from matchlake.features.fitted_categories import FittedCategories
from matchlake.features.numpy_values import floats, is_null, listed, text_of
from matchlake.formulas.onnx import NULL_TEXT, PADDING, onnx_text, text_input_name

Array = npt.NDArray[Any]


def onnx_inputs(
    features: Iterable[FittedFeature], columns: Mapping[str, npt.ArrayLike]
) -> dict[str, Array]:
    """The arrays that a graph of these features reads, by the name of the input.

    Numbers are doubles with NaN for null, categories are texts as Spark writes them.
    """
    arrays: dict[str, Array] = {}
    for fitted in features:
        values = columns[fitted.column]
        if not isinstance(fitted, FittedCategories):
            arrays[fitted.column] = floats(values)
        else:
            text = text_of(fitted.element_type)
            make = _lists if fitted.is_list else _texts
            arrays[text_input_name(fitted.column)] = make(values, text)
    return arrays


def _texts(values: npt.ArrayLike, text: Callable[[Any], str]) -> Array:
    column = pd.Series(values, dtype=object) if isinstance(values, list) else pd.Series(values)
    codes, distinct = pd.factorize(column)
    known = np.array([*(onnx_text(text(value)) for value in distinct), NULL_TEXT], dtype=object)
    return np.asarray(known[codes])


def _lists(values: npt.ArrayLike, text: Callable[[Any], str]) -> Array:
    rows = [_row(value, text) for value in pd.Series(values, dtype=object)]
    width = max([1, *(len(row) for row in rows)])
    padded = np.full((len(rows), width), PADDING, dtype=object)
    for number, row in enumerate(rows):
        padded[number, : len(row)] = row
    return padded


def _row(value: Any, text: Callable[[Any], str]) -> list[str]:
    """A list as texts without its nulls; a list that is null is one null text."""
    if is_null(value):
        return [NULL_TEXT]
    return [onnx_text(text(each)) for each in listed(value) if not is_null(each)]
