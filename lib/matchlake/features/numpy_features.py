"""A fitted feature set on NumPy arrays and on single rows, for pandas and for serving."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from matchlake.errors import InputError, SchemaError
from matchlake.features.categories import REFUSED, FittedCategories
from matchlake.features.evaluate import ARRAYS, NUMBERS, bind
from matchlake.features.numbers import FittedNumber
from matchlake.features.texts import (
    Flags,
    Places,
    find_places,
    flatten_lists,
    floats,
    is_null,
    text_of,
)

Matrix = npt.NDArray[np.float64]
Fitted = FittedNumber | FittedCategories


class _Block(Protocol):
    """The columns of one feature."""

    width: int

    def fill(self, columns: Mapping[str, npt.ArrayLike], out: Matrix) -> None:
        """Writes the feature's columns of all rows into `out`, which holds zeros."""

    def fill_row(self, row: Mapping[str, Any], out: list[float], first: int) -> None:
        """Writes the feature's values of one row from place `first` on."""


class NumpyFeatures:
    """Runs fitted features without Spark; built once, it holds all look-ups ready."""

    def __init__(self, features: Sequence[Fitted]) -> None:
        self.features = features
        self.columns = list(dict.fromkeys(fitted.column for fitted in features))
        self._blocks: list[tuple[int, _Block]] = []
        self.width = 0
        for fitted in features:
            block = _block(fitted)
            self._blocks.append((self.width, block))
            self.width += block.width

    def __reduce__(self) -> tuple[Any, ...]:
        return NumpyFeatures, (self.features,)

    def transform(self, columns: Mapping[str, npt.ArrayLike]) -> Matrix:
        """All rows: columns of equal length to rows x output columns, NaN for null."""
        self._check(columns)
        lengths = {name: len(columns[name]) for name in self.columns}  # type: ignore[arg-type]
        if len(set(lengths.values())) > 1:
            raise SchemaError(f"Columns must be of equal length, not {lengths}.")
        out = np.zeros((lengths[self.columns[0]], self.width))
        with np.errstate(all="ignore"):
            for first, block in self._blocks:
                block.fill(columns, out[:, first : first + block.width])
        return out

    def transform_row(self, row: Mapping[str, Any]) -> Matrix:
        """One row: single values, or lists for list columns, to a vector of the output columns."""
        self._check(row)
        out = [0.0] * self.width
        for first, block in self._blocks:
            block.fill_row(row, out, first)
        return np.array(out)

    def _check(self, there: Mapping[str, Any]) -> None:
        missing = [column for column in self.columns if column not in there]
        if missing:
            raise SchemaError(
                f"The features read {', '.join(missing)}, which is not given: there is "
                f"{', '.join(map(str, there)) or 'nothing'}."
            )


def _block(fitted: Fitted) -> _Block:
    return _NumberBlock(fitted) if isinstance(fitted, FittedNumber) else _CategoryBlock(fitted)


class _NumberBlock:
    """A numeric feature: its formulas bound to arrays and to single numbers."""

    def __init__(self, fitted: FittedNumber) -> None:
        self._column = fitted.column
        inputs, formulas = fitted.inputs().items(), fitted.formulas().values()
        self.width = len(formulas)
        self._array_inputs = [(name, bind(each, ARRAYS)) for name, each in inputs]
        self._array_formulas = [bind(each, ARRAYS) for each in formulas]
        self._row_inputs = [(name, bind(each, NUMBERS)) for name, each in inputs]
        self._row_formulas = [bind(each, NUMBERS) for each in formulas]

    def fill(self, columns: Mapping[str, npt.ArrayLike], out: Matrix) -> None:
        raw = {self._column: floats(columns[self._column])}
        ready = {name: prepare(raw) for name, prepare in self._array_inputs}
        for place, formula in enumerate(self._array_formulas):
            out[:, place] = formula(ready)

    def fill_row(self, row: Mapping[str, Any], out: list[float], first: int) -> None:
        value = row[self._column]
        raw = {self._column: float("nan") if is_null(value) else float(value)}
        ready = {name: prepare(raw) for name, prepare in self._row_inputs}
        for place, formula in enumerate(self._row_formulas, first):
            out[place] = formula(ready)


class _CategoryBlock:
    """A categorical feature: a dictionary from the text of a category to its place."""

    def __init__(self, fitted: FittedCategories) -> None:
        self._fitted = fitted
        self._column = fitted.column
        self._is_list = fitted.is_list
        self._text = text_of(fitted.element_type)
        self._places, self._null, self._other = fitted.places()
        self.width = len(fitted.outputs())

    def fill(self, columns: Mapping[str, npt.ArrayLike], out: Matrix) -> None:
        rows, places, null = self.find(columns[self._column])
        shown = places >= 0
        out[rows[shown], places[shown]] = 1.0
        if self._null >= 0:
            out[null, self._null] = 1.0

    def find(self, values: npt.ArrayLike) -> tuple[Places, Places, Flags]:
        """Rows and places of all values that are not null, and which rows are null."""
        if self._is_list:
            rows, elements, null = flatten_lists(values)
            places, gone = find_places(elements, self._places, self._other, self._text)
        else:
            places, null = find_places(values, self._places, self._other, self._text)
            rows, gone = np.arange(len(places)), null
        rows, places = rows[~gone], places[~gone]
        self._refuse(null=bool(null.any()), other=bool((places == REFUSED).any()))
        return rows, places, null

    def fill_row(self, row: Mapping[str, Any], out: list[float], first: int) -> None:
        value = row[self._column]
        gone = value is None or (not self._is_list and is_null(value))
        if gone:
            self._refuse(null=True, other=False)
            places = [self._null]
        else:
            values = [each for each in value if not is_null(each)] if self._is_list else [value]
            places = [self._places.get(self._text(each), self._other) for each in values]
        for place in places:
            if place >= 0:
                out[first + place] = 1.0
            elif place == REFUSED:
                self._refuse(null=False, other=True)

    def _refuse(self, *, null: bool, other: bool) -> None:
        """Raises InputError for what the policies refuse."""
        if null and self._null == REFUSED:
            raise InputError(self._fitted.null_message)
        if other:
            raise InputError(self._fitted.other_message)
