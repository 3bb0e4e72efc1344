"""Interactions as compressed rows (CSR), the form in which kernels read them."""

from dataclasses import dataclass

import numba
import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Positions = npt.NDArray[np.int32]
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Csr:
    """Compressed rows: those of row `r` stand at `indptr[r]:indptr[r + 1]`, by ascending column."""

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

    def transpose(self) -> "Csr":
        """The same interactions with the other side as rows."""
        return Csr(*_transpose(self.indptr, self.columns, self.values, self.width), self.rows)


def csr_from_pairs(
    rows: Positions, columns: Positions, values: Floats, shape: tuple[int, int]
) -> Csr:
    """Sorts triples in any order into compressed rows, columns ascending in each."""
    by_column = _group(columns, rows, values, shape[1])
    return Csr(*_transpose(*by_column, shape[0]), shape[1])


@numba.njit(nogil=True, cache=True)
def _group(rows, columns, values, n_rows):  # type: ignore[no-untyped-def]
    indptr = np.zeros(n_rows + 1, np.int64)
    for row in rows:
        indptr[row + 1] += 1
    indptr = np.cumsum(indptr)
    place = indptr[:-1].copy()
    out_columns = np.empty(len(columns), np.int32)
    out_values = np.empty(len(values), np.float32)
    for j in range(len(rows)):
        k = place[rows[j]]
        place[rows[j]] = k + 1
        out_columns[k] = columns[j]
        out_values[k] = values[j]
    return indptr, out_columns, out_values


@numba.njit(nogil=True, cache=True)
def _transpose(indptr, columns, values, width):  # type: ignore[no-untyped-def]
    rows = np.empty(len(columns), np.int32)
    for row in range(len(indptr) - 1):
        rows[indptr[row] : indptr[row + 1]] = row
    return _group(columns, rows, values, width)
