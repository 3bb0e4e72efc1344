"""The compiled parts: sums over histories, and the largest of many numbers."""

import numpy as np
import numpy.typing as npt

from matchlake.engine.csr import Csr
from matchlake.engine.simd import compiled

Positions = npt.NDArray[np.int32]
Places = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Rows = tuple[Places, Positions, Floats]
"""Compressed rows as kernels take them: where each begins, its columns, its values."""


def rows_of(matrix: Csr) -> Rows:
    """A matrix for the kernels."""
    return matrix.indptr, matrix.columns, matrix.values


@compiled
def add_rows(
    places: Positions | Places, strengths: Floats, rows: Rows, total: Floats | Doubles
) -> None:
    """Adds the rows at `places`, each times its strength."""
    indptr, columns, values = rows
    for place in range(len(places)):
        row = places[place]
        for entry in range(indptr[row], indptr[row + 1]):
            total[columns[entry]] += strengths[place] * values[entry]


@compiled
def add_full_rows(places: Places, strengths: Floats, full: Floats, total: Floats) -> None:
    """Adds full rows at `places`, each times its strength."""
    for place in range(len(places)):
        row, strength = full[places[place]], strengths[place]
        for column in range(len(total)):
            total[column] += strength * row[column]


@compiled
def mark_rows(places: Places, rows: Rows, marked: Flags) -> None:
    """Marks every column that the rows at `places` have."""
    indptr, columns, _ = rows
    for row in places:
        for entry in range(indptr[row], indptr[row + 1]):
            marked[columns[entry]] = True


@compiled
def largest(values: Floats | Doubles, chosen: Flags, k: int) -> Positions:
    """Places of the `k` largest of `values` where `chosen`, from high to low, ties by place.

    A heap of the best so far, its root the worst of them: of equal values the later place. Since
    places come in ascending order, a value equal to the root's never gets in.
    """
    heap = np.empty(min(k, len(values)), np.int32)
    size = 0
    for place in range(len(values)):
        if not chosen[place]:
            continue
        if size < len(heap):
            heap[size] = place
            size += 1
            if size == len(heap):
                _order(heap, values, size)
        elif size > 0 and values[place] > values[heap[0]]:
            heap[0] = place
            _sink(heap, values, 0, size)
    if size < len(heap):
        _order(heap, values, size)
    for end in range(size - 1, 0, -1):
        heap[0], heap[end] = heap[end], heap[0]
        _sink(heap, values, 0, end)
    return heap[:size]


@compiled
def _order(heap: Positions, values: Floats | Doubles, size: int) -> None:
    for root in range(size // 2 - 1, -1, -1):
        _sink(heap, values, root, size)


@compiled
def _sink(heap: Positions, values: Floats | Doubles, root: int, size: int) -> None:
    """Moves the entry at `root` down until no worse one stands below it."""
    while 2 * root + 1 < size:
        child = 2 * root + 1
        if child + 1 < size and _worse(values, heap[child + 1], heap[child]):
            child += 1
        if not _worse(values, heap[child], heap[root]):
            return
        heap[root], heap[child] = heap[child], heap[root]
        root = child


@compiled
def _worse(values: Floats | Doubles, one: int, other: int) -> bool:
    return bool(values[one] < values[other] or (values[one] == values[other] and one > other))
