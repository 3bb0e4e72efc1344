"""Compiled sums of weighted rows."""

import numpy as np
import numpy.typing as npt

from matchlake.engine.csr import Csr
from matchlake.engine.simd import compiled

Positions = npt.NDArray[np.int32]
Places = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Rows = tuple[Places, Positions, Floats]
"""Compressed rows in the form for kernels: offsets, columns, values."""


def rows_of(matrix: Csr) -> Rows:
    """Converts a matrix for the kernels."""
    return matrix.indptr, matrix.columns, matrix.values


@compiled
def add_rows(
    indices: Positions | Places, weights: Floats, rows: Rows, total: Floats | Doubles
) -> None:
    """Adds the rows at `indices`, each times its weight."""
    indptr, columns, values = rows
    for n in range(len(indices)):
        row = indices[n]
        for entry in range(indptr[row], indptr[row + 1]):
            total[columns[entry]] += weights[n] * values[entry]


@compiled
def add_rows_to_each(lists: Rows, rows: Rows, chosen: Positions, totals: Floats) -> None:
    """Adds, for each chosen list, the rows at its entries, each times the entry's value."""
    indptr, indices, weights = lists
    for n in range(len(chosen)):
        begin, end = indptr[chosen[n]], indptr[chosen[n] + 1]
        add_rows(indices[begin:end], weights[begin:end], rows, totals[n])


@compiled
def add_full_rows(indices: Positions, weights: Floats, full: Floats, total: Floats) -> None:
    """Adds full rows at `indices`, each times its weight."""
    for n in range(len(indices)):
        row, weight = full[indices[n]], weights[n]
        for column in range(len(total)):
            total[column] += weight * row[column]
