"""The columns of one fitted feature on NumPy arrays and on single rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from matchlake.errors import InputError
from matchlake.features.numpy_values import (
    Indices,
    find_positions,
    flatten_lists,
    floats,
    is_null,
    listed,
    text_of,
)
from matchlake.formulas.numpy import ARRAYS, NUMBERS, bind
from matchlake.formulas.tree import Expression

Matrix = npt.NDArray[np.float64]

ABSENT = -1
"""The position of a value that has no column."""
REFUSED = -2
"""The position of a value that the feature refuses with an error."""


class Block(Protocol):
    """The columns of one feature."""

    width: int

    def fill(self, columns: Mapping[str, npt.ArrayLike], out: Matrix) -> None:
        """Writes the feature's columns of all rows into `out`, which holds zeros."""

    def fill_row(self, row: Mapping[str, Any], out: Matrix, first: int) -> None:
        """Writes the feature's values of one row into `out`, from position `first` on."""


class OnesBlock(Block, Protocol):
    """The columns of a feature that gives only zeros and ones."""

    def ones(self, columns: Mapping[str, npt.ArrayLike]) -> tuple[Indices, Indices]:
        """The row and the position of each one; each pair occurs once."""


class NumberBlock:
    """A numeric feature: its formulas bound to arrays and to single numbers."""

    def __init__(
        self, column: str, inputs: Mapping[str, Expression], formulas: Sequence[Expression]
    ) -> None:
        self._column = column
        self.width = len(formulas)
        self._array_inputs = [(name, bind(each, ARRAYS)) for name, each in inputs.items()]
        self._array_formulas = [bind(each, ARRAYS) for each in formulas]
        self._row_inputs = [(name, bind(each, NUMBERS)) for name, each in inputs.items()]
        self._row_formulas = [bind(each, NUMBERS) for each in formulas]

    def fill(self, columns: Mapping[str, npt.ArrayLike], out: Matrix) -> None:
        """Writes the feature's columns of all rows into `out`."""
        raw = {self._column: floats(columns[self._column])}
        prepared = {name: prepare(raw) for name, prepare in self._array_inputs}
        for position, formula in enumerate(self._array_formulas):
            out[:, position] = formula(prepared)

    def fill_row(self, row: Mapping[str, Any], out: Matrix, first: int) -> None:
        """Writes the feature's values of one row into `out`, from position `first` on."""
        value = row[self._column]
        raw = {self._column: float("nan") if is_null(value) else float(value)}
        prepared = {name: prepare(raw) for name, prepare in self._row_inputs}
        for position, formula in enumerate(self._row_formulas, first):
            out[position] = formula(prepared)


@dataclass(frozen=True)
class CategoryLookup:
    """The position of each category among a feature's columns, and of null and unknown values.

    A position is ABSENT where the value has no column, REFUSED where it is an error.
    """

    column: str
    type: str
    """The type of a single value, as Spark names it."""
    is_list: bool
    width: int
    positions: Mapping[str, int]
    null: int
    unknown: int
    null_message: str
    """The error of a refused null."""
    unknown_message: str
    """The error of a refused unknown value."""


class CategoryBlock:
    """A categorical feature: a dictionary from the text of a category to its position."""

    def __init__(self, lookup: CategoryLookup) -> None:
        self._lookup = lookup
        self.width = lookup.width
        self._text = text_of(lookup.type)

    def fill(self, columns: Mapping[str, npt.ArrayLike], out: Matrix) -> None:
        """Writes the feature's columns of all rows into `out`."""
        out[self.ones(columns)] = 1.0

    def ones(self, columns: Mapping[str, npt.ArrayLike]) -> tuple[Indices, Indices]:
        """The row and the position of each one; each pair occurs once."""
        lookup, values = self._lookup, columns[self._lookup.column]
        if lookup.is_list:
            rows, elements, null = flatten_lists(values)
            positions, missing = self._positions(elements)
            rows, positions = rows[~missing], positions[~missing]
        else:
            positions, null = self._positions(values)
            rows, positions = np.flatnonzero(~null), positions[~null]
        self._refuse(null=bool(null.any()), unknown=bool((positions == REFUSED).any()))
        rows = np.concatenate([rows, np.flatnonzero(null)])
        positions = np.concatenate([positions, np.full(null.sum(), lookup.null)])
        rows, positions = rows[positions >= 0], positions[positions >= 0]
        if not lookup.is_list or not len(rows):
            return rows, positions
        once = np.unique(rows * self.width + positions)
        return once // self.width, once % self.width

    def fill_row(self, row: Mapping[str, Any], out: Matrix, first: int) -> None:
        """Writes the feature's values of one row into `out`, from position `first` on."""
        lookup, value = self._lookup, row[self._lookup.column]
        if is_null(value):
            self._refuse(null=True, unknown=False)
            positions = [lookup.null]
        else:
            values = [value]
            if lookup.is_list:
                values = [each for each in listed(value) if not is_null(each)]
            positions = [lookup.positions.get(self._text(each), lookup.unknown) for each in values]
        for position in positions:
            if position >= 0:
                out[first + position] = 1.0
            elif position == REFUSED:
                self._refuse(null=False, unknown=True)

    def _positions(self, values: npt.ArrayLike) -> tuple[Indices, npt.NDArray[np.bool_]]:
        return find_positions(values, self._lookup.positions, self._lookup.unknown, self._text)

    def _refuse(self, *, null: bool, unknown: bool) -> None:
        """Raises InputError for the values that the feature refuses."""
        if null and self._lookup.null == REFUSED:
            raise InputError(self._lookup.null_message)
        if unknown:
            raise InputError(self._lookup.unknown_message)
