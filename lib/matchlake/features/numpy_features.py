"""A fitted feature set on NumPy arrays and on single rows, for pandas and for serving."""

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd

from matchlake.errors import InputError, SchemaError
from matchlake.features.categories import REFUSED, FittedCategories
from matchlake.features.numbers import FittedNumber
from matchlake.features.texts import (
    Places,
    find_places,
    flatten_lists,
    floats,
    is_null,
    listed,
    text_of,
)
from matchlake.formulas.numpy import ARRAYS, NUMBERS, bind

Matrix = npt.NDArray[np.float64]
Fitted = FittedNumber | FittedCategories


class SparseRows(NamedTuple):
    """Compressed sparse rows: the entries of row r are those from starts[r] to starts[r + 1]."""

    starts: Places
    indices: Places
    values: Matrix
    width: int


class Block(Protocol):
    """The columns of one feature."""

    width: int

    def fill(self, columns: Mapping[str, npt.ArrayLike], out: Matrix) -> None:
        """Writes the feature's columns of all rows into `out`, which holds zeros."""

    def fill_row(self, row: Mapping[str, Any], out: Matrix, first: int) -> None:
        """Writes the feature's values of one row from place `first` on."""


class NumpyFeatures:
    """Runs fitted features without Spark; built once, it holds all look-ups ready."""

    def __init__(self, features: Sequence[Fitted]) -> None:
        self.features = features
        self.columns = list(dict.fromkeys(fitted.column for fitted in features))
        made = [
            NumberBlock(f) if isinstance(f, FittedNumber) else CategoryBlock(f) for f in features
        ]
        self._numbers = [block for block in made if isinstance(block, NumberBlock)]
        self._categories = [block for block in made if isinstance(block, CategoryBlock)]
        self._blocks = _placed(made)
        self.width = sum(block.width for block in made)
        single = [f.column for f in features if isinstance(f, FittedNumber) or not f.is_list]
        self._single = single[0] if single else None

    def __reduce__(self) -> tuple[Any, ...]:
        return NumpyFeatures, (self.features,)

    def are_columns(self, given: Mapping[str, Any]) -> bool:
        """Whether these are columns of many rows, and not the values of one row.

        The first column without lists tells; where there is none, whether an array holds lists.
        """
        value = given.get(self._single or self.columns[0])
        if self._single is not None or not isinstance(value, np.ndarray):
            return bool(getattr(value, "ndim", 0))
        return all(np.ndim(each) or is_null(each) for each in value)

    def transform(self, columns: Mapping[str, npt.ArrayLike]) -> Matrix:
        """All rows: columns of equal length to rows x output columns, NaN for null."""
        return _filled(columns, self._rows(columns), self._blocks)

    def transform_row(self, row: Mapping[str, Any]) -> Matrix:
        """One row: single values, or lists for list columns, to a vector of the output columns."""
        self._check(row)
        out = np.zeros(self.width)
        for first, block in self._blocks:
            block.fill_row(row, out, first)
        return out

    def sparse(self, columns: Mapping[str, npt.ArrayLike]) -> SparseRows:
        """All rows: every number at the first places, then a one for each category there is."""
        count = self._rows(columns)
        dense = _filled(columns, count, _placed(self._numbers))
        first = dense.shape[1]
        rows = [np.repeat(np.arange(count), first)]
        places = [np.tile(np.arange(first), count)]
        for block in self._categories:
            row, place = block.ones(columns[block.column])
            rows.append(row)
            places.append(place + first)
            first += block.width
        row, place = np.concatenate(rows), np.concatenate(places)
        values = np.concatenate([dense.ravel(), np.ones(len(row) - dense.size)])
        order = np.lexsort((place, row))
        starts = np.searchsorted(row[order], np.arange(count + 1))
        return SparseRows(starts, place[order], values[order], first)

    def slots(self, columns: Mapping[str, npt.ArrayLike]) -> dict[str, Any]:
        """All rows, by column: numbers as in `transform`, the slots of each other feature.

        These are Int32 of pandas with its null for none, or lists of slots for a list column.
        """
        count = self._rows(columns)
        first = sum(block.width for block in self._numbers)
        found: dict[str, Any] = {}
        for fitted, (_, block) in zip(self.features, self._blocks, strict=True):
            if not isinstance(block, CategoryBlock):
                dense = _filled(columns, count, [(0, block)])
                names = [output.name for output in fitted.outputs()]
                found |= dict(zip(names, dense.T, strict=True))
                continue
            rows, places = block.ones(columns[block.column])
            if block.fitted.is_list:
                ends = np.searchsorted(rows, np.arange(1, count))
                parts = np.split(places + first, ends)[:count]
                found[fitted.name] = [part.tolist() for part in parts]
            else:
                none = np.full(count, fill_value=True)
                none[rows] = False
                slots = np.zeros(count, np.int32)
                slots[rows] = places + first
                found[fitted.name] = pd.arrays.IntegerArray(slots, none)
            first += block.width
        return found

    def _rows(self, columns: Mapping[str, npt.ArrayLike]) -> int:
        self._check(columns)
        lengths = {name: len(columns[name]) for name in self.columns}  # type: ignore[arg-type]
        if len(set(lengths.values())) != 1:
            raise SchemaError(f"Columns must be of equal length, not {lengths}.")
        return lengths[self.columns[0]]

    def _check(self, there: Mapping[str, Any]) -> None:
        missing = [column for column in self.columns if column not in there]
        if missing:
            raise SchemaError(
                f"The features read {', '.join(missing)}, which is not given: there is "
                f"{', '.join(map(str, there)) or 'nothing'}."
            )


def _placed(blocks: Sequence[Block]) -> list[tuple[int, Block]]:
    """The blocks with the place where each begins."""
    return list(zip(accumulate((b.width for b in blocks), initial=0), blocks, strict=False))


def _filled(
    columns: Mapping[str, npt.ArrayLike], rows: int, blocks: list[tuple[int, Block]]
) -> Matrix:
    out = np.zeros((rows, sum(block.width for _, block in blocks)))
    with np.errstate(all="ignore"):
        for first, block in blocks:
            block.fill(columns, out[:, first : first + block.width])
    return out


class NumberBlock:
    """A numeric feature: its formulas bound to arrays and to single numbers."""

    def __init__(self, fitted: FittedNumber) -> None:
        self.fitted = fitted
        inputs, formulas = fitted.inputs().items(), fitted.formulas().values()
        self.width = len(formulas)
        self._array_inputs = [(name, bind(each, ARRAYS)) for name, each in inputs]
        self._array_formulas = [bind(each, ARRAYS) for each in formulas]
        self._row_inputs = [(name, bind(each, NUMBERS)) for name, each in inputs]
        self._row_formulas = [bind(each, NUMBERS) for each in formulas]

    def fill(self, columns: Mapping[str, npt.ArrayLike], out: Matrix) -> None:
        """Writes the feature's columns of all rows into `out`."""
        raw = {self.fitted.column: floats(columns[self.fitted.column])}
        ready = {name: prepare(raw) for name, prepare in self._array_inputs}
        for place, formula in enumerate(self._array_formulas):
            out[:, place] = formula(ready)

    def fill_row(self, row: Mapping[str, Any], out: Matrix, first: int) -> None:
        """Writes the feature's values of one row from place `first` on."""
        value = row[self.fitted.column]
        raw = {self.fitted.column: float("nan") if is_null(value) else float(value)}
        ready = {name: prepare(raw) for name, prepare in self._row_inputs}
        for place, formula in enumerate(self._row_formulas, first):
            out[place] = formula(ready)


class CategoryBlock:
    """A categorical feature: a dictionary from the text of a category to its place."""

    def __init__(self, fitted: FittedCategories) -> None:
        self.fitted = fitted
        self.column = fitted.column
        self.width = len(fitted.outputs())
        self._text = text_of(fitted.element_type)
        self._places, self._null, self._other = fitted.places()

    def fill(self, columns: Mapping[str, npt.ArrayLike], out: Matrix) -> None:
        """Writes the feature's columns of all rows into `out`."""
        out[self.ones(columns[self.column])] = 1.0

    def ones(self, values: npt.ArrayLike) -> tuple[Places, Places]:
        """The row and the place of every one, each pair once."""
        if self.fitted.is_list:
            rows, elements, null = flatten_lists(values)
            places, gone = find_places(elements, self._places, self._other, self._text)
            rows, places = rows[~gone], places[~gone]
        else:
            places, null = find_places(values, self._places, self._other, self._text)
            rows, places = np.flatnonzero(~null), places[~null]
        self._refuse(null=bool(null.any()), other=bool((places == REFUSED).any()))
        rows = np.concatenate([rows, np.flatnonzero(null)])
        places = np.concatenate([places, np.full(null.sum(), self._null)])
        rows, places = rows[places >= 0], places[places >= 0]
        if not self.fitted.is_list or not len(rows):
            return rows, places
        once = np.unique(rows * self.width + places)
        return once // self.width, once % self.width

    def fill_row(self, row: Mapping[str, Any], out: Matrix, first: int) -> None:
        """Writes the feature's values of one row from place `first` on."""
        value = row[self.column]
        if is_null(value):
            self._refuse(null=True, other=False)
            places = [self._null]
        else:
            values = [value]
            if self.fitted.is_list:
                values = [each for each in listed(value) if not is_null(each)]
            places = [self._places.get(self._text(each), self._other) for each in values]
        for place in places:
            if place >= 0:
                out[first + place] = 1.0
            elif place == REFUSED:
                self._refuse(null=False, other=True)

    def _refuse(self, *, null: bool, other: bool) -> None:
        """Raises InputError for what the policies refuse."""
        if null and self._null == REFUSED:
            raise InputError(self.fitted.null_message)
        if other:
            raise InputError(self.fitted.other_message)
