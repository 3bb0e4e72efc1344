"""Interactions as compressed rows (CSR), as kernels read them."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from matchlake.engine.simd import compiled

Ints = npt.NDArray[np.int64]
Positions = npt.NDArray[np.int32]
Floats = npt.NDArray[np.float32]
Arrays = dict[str, npt.NDArray[Any]]

_LEVELS, _SAMPLE = 1 << 8, 1 << 16
_HALF = 16
"""Low bits of a column, which are stored apart from the high ones."""


@dataclass(frozen=True)
class Csr:
    """Compressed rows: row `r` is `indptr[r]:indptr[r + 1]`, by ascending column."""

    indptr: Ints
    columns: Positions
    values: Floats
    width: int

    @property
    def rows(self) -> int:
        """Number of rows, empty ones included."""
        return len(self.indptr) - 1

    def counts(self) -> Ints:
        """Interactions of each row."""
        return np.diff(self.indptr)

    def repeats(self) -> Ints:
        """Places in `columns` that repeat the column before them in the same row."""
        same = np.flatnonzero(self.columns[1:] == self.columns[:-1]) + 1
        return same[~np.isin(same, self.indptr)]

    def row_of(self, indices: Ints) -> Ints:
        """The rows that hold these indices of `columns`."""
        return np.searchsorted(self.indptr, indices, "right") - 1

    def transpose(self) -> "Csr":
        """The same interactions with the other side as rows."""
        indptr, columns, values = _transpose(self.indptr, self.columns, self.values, self.width)
        return Csr(indptr, columns, values, self.rows)

    def narrowed(self) -> Arrays:
        """The rows for `Csr.widened`, exactly, in three bytes per interaction if possible.

        A distributed fit sends every block to a worker in each half, so its time depends on bytes.
        Columns are stored as low and high bits, values of few levels as codes.
        """
        arrays: Arrays = {"indptr": self.indptr, "width": np.array([self.width])}
        arrays["low"] = self.columns.astype(np.uint16)
        if self.width > 1 << _HALF:
            kind = np.min_scalar_type(self.width >> _HALF)
            arrays["high"] = (self.columns >> _HALF).astype(kind)
        if len(np.unique(self.values[:_SAMPLE])) <= _LEVELS:
            coded = pa.array(self.values).dictionary_encode()
            if len(coded.dictionary) <= _LEVELS:
                arrays["codes"] = np.asarray(coded.indices).astype(np.uint8)
                arrays["levels"] = np.asarray(coded.dictionary)
        if "codes" not in arrays:
            arrays["values"] = self.values
        return arrays

    @classmethod
    def widened(cls, found: Arrays) -> "Csr":
        """The rows of `narrowed`."""
        columns = found["low"].astype(np.int32)
        if "high" in found:
            columns |= found["high"].astype(np.int32) << _HALF
        values = found["levels"][found["codes"]] if "codes" in found else found["values"]
        return cls(found["indptr"], columns, values, int(found["width"][0]))


def csr_from_pairs(
    rows: Positions, columns: Positions, values: Floats, shape: tuple[int, int]
) -> Csr:
    """Sorts triples in any order into compressed rows, columns ascending in each."""
    by_column = _group(columns, rows, values, shape[1])
    indptr, positions, floats = _transpose(*by_column, shape[0])
    return Csr(indptr, positions, floats, shape[1])


@compiled
def _group(
    rows: Positions, columns: Positions, values: Floats, count: int
) -> tuple[Ints, Positions, Floats]:
    """Stable counting sort by row."""
    indptr = np.zeros(count + 1, np.int64)
    for row in rows:
        indptr[row + 1] += 1
    indptr = np.cumsum(indptr)
    position = indptr[:-1].copy()
    out_columns = np.empty(len(columns), np.int32)
    out_values = np.empty(len(values), np.float32)
    for j in range(len(rows)):
        k = position[rows[j]]
        position[rows[j]] = k + 1
        out_columns[k] = columns[j]
        out_values[k] = values[j]
    return indptr, out_columns, out_values


@compiled
def _transpose(
    indptr: Ints, columns: Positions, values: Floats, count: int
) -> tuple[Ints, Positions, Floats]:
    rows = np.empty(len(columns), np.int32)
    for row in range(len(indptr) - 1):
        rows[indptr[row] : indptr[row + 1]] = row
    return _group(columns, rows, values, count)
