"""A fitted feature set on NumPy arrays and on single rows, for pandas and for serving."""

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any, NamedTuple, cast

import numpy as np
import numpy.typing as npt

from matchlake.errors import SchemaError
from matchlake.features.fitted import FittedFeature
from matchlake.features.numpy_blocks import Block, Matrix, OnesBlock
from matchlake.features.numpy_values import Indices, is_null


class SparseRows(NamedTuple):
    """Compressed sparse rows: row r has the entries from starts[r] to starts[r + 1]."""

    starts: Indices
    indices: Indices
    values: Matrix
    width: int


class NumpyFeatures:
    """Fitted features without Spark; the constructor prepares every lookup once."""

    def __init__(self, features: Sequence[FittedFeature]) -> None:
        self.features = features
        self.columns = list(dict.fromkeys(fitted.column for fitted in features))
        blocks = [fitted.numpy() for fitted in features]
        pairs = list(zip(features, blocks, strict=True))
        self._numbers = [block for fitted, block in pairs if not fitted.gives_ones]
        self._ones = [cast("OnesBlock", block) for fitted, block in pairs if fitted.gives_ones]
        self._blocks = _placed(blocks)
        self.width = sum(block.width for block in blocks)
        single = [fitted.column for fitted in features if not fitted.is_list]
        self._single = single[0] if single else None

    def __reduce__(self) -> tuple[Any, ...]:
        return NumpyFeatures, (self.features,)

    def are_columns(self, values: Mapping[str, Any]) -> bool:
        """Whether these are columns of many rows, and not the values of one row.

        The first column without lists decides. If all columns hold lists, an array of lists is a
        column.
        """
        value = values.get(self._single or self.columns[0])
        if self._single is not None or not isinstance(value, np.ndarray):
            return bool(getattr(value, "ndim", 0))
        return all(np.ndim(each) or is_null(each) for each in value)

    def transform(self, columns: Mapping[str, npt.ArrayLike]) -> Matrix:
        """Columns of equal length to a matrix (rows, output columns), NaN for null."""
        return _filled(columns, self._rows(columns), self._blocks)

    def transform_row(self, row: Mapping[str, Any]) -> Matrix:
        """One row to a vector of the output columns; a list column has a list as its value."""
        self._check(row)
        out = np.zeros(self.width)
        for first, block in self._blocks:
            block.fill_row(row, out, first)
        return out

    def sparse(self, columns: Mapping[str, npt.ArrayLike]) -> SparseRows:
        """Columns of equal length to sparse rows: every number first, then the ones."""
        count = self._rows(columns)
        dense = _filled(columns, count, _placed(self._numbers))
        first = dense.shape[1]
        rows = [np.repeat(np.arange(count), first)]
        indices = [np.tile(np.arange(first), count)]
        for block in self._ones:
            row, index = block.ones(columns)
            rows.append(row)
            indices.append(index + first)
            first += block.width
        row, index = np.concatenate(rows), np.concatenate(indices)
        values = np.concatenate([dense.ravel(), np.ones(len(row) - dense.size)])
        order = np.lexsort((index, row))
        starts = np.searchsorted(row[order], np.arange(count + 1))
        return SparseRows(starts, index[order], values[order], first)

    def indices(self, columns: Mapping[str, npt.ArrayLike]) -> dict[str, Any]:
        """The index layout by column: numbers as in `transform`, the indices of other features.

        Indices are pandas Int32 with its null for none, or lists of them for a list column.
        """
        count = self._rows(columns)
        first = sum(block.width for block in self._numbers)
        columns_of_indices: dict[str, Any] = {}
        for fitted, (_, block) in zip(self.features, self._blocks, strict=True):
            if not fitted.gives_ones:
                dense = _filled(columns, count, [(0, block)])
                names = [output.name for output in fitted.outputs()]
                columns_of_indices |= dict(zip(names, dense.T, strict=True))
                continue
            rows, positions = cast("OnesBlock", block).ones(columns)
            if fitted.is_list:
                ends = np.searchsorted(rows, np.arange(1, count))
                parts = np.split(positions + first, ends)[:count]
                columns_of_indices[fitted.name] = [part.tolist() for part in parts]
            else:
                import pandas as pd  # noqa: PLC0415 - a second, and commands load this module

                none = np.full(count, fill_value=True)
                none[rows] = False
                indices = np.zeros(count, np.int32)
                indices[rows] = positions + first
                columns_of_indices[fitted.name] = pd.arrays.IntegerArray(indices, none)
            first += block.width
        return columns_of_indices

    def _rows(self, columns: Mapping[str, npt.ArrayLike]) -> int:
        self._check(columns)
        lengths = {name: len(columns[name]) for name in self.columns}  # type: ignore[arg-type]
        if len(set(lengths.values())) != 1:
            raise SchemaError(f"Columns must be of equal length, not {lengths}.")
        return lengths[self.columns[0]]

    def _check(self, values: Mapping[str, Any]) -> None:
        missing = [column for column in self.columns if column not in values]
        if missing:
            raise SchemaError.missing("the input of the features", missing, values)


def _placed(blocks: Sequence[Block]) -> list[tuple[int, Block]]:
    """The blocks with the position of each one's first column."""
    return list(zip(accumulate((b.width for b in blocks), initial=0), blocks, strict=False))


def _filled(
    columns: Mapping[str, npt.ArrayLike], rows: int, blocks: list[tuple[int, Block]]
) -> Matrix:
    out = np.zeros((rows, sum(block.width for _, block in blocks)))
    with np.errstate(all="ignore"):
        for first, block in blocks:
            block.fill(columns, out[:, first : first + block.width])
    return out
