"""Training ratings in memory, sorted by the rows of each side."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from matchlake.engine.csr import Floats, Ints, Positions
from matchlake.engine.simd import compiled
from matchlake.recommender.sides import USER

DAY = 2
"""The third side, besides USER and ITEM; sides are also the columns of `Ratings.places`."""


@dataclass(frozen=True)
class Ratings:
    """The ratings: `values[i]` is rating i, `places[i, s]` is its row number on side s.

    `sizes[s]` is the number of rows on side s.
    """

    places: Positions
    values: Floats
    sizes: tuple[int, ...]


@dataclass(frozen=True)
class Sorted:
    """All ratings in the order of one side's rows, and within a row of the other sides'."""

    indptr: Ints
    order: Ints
    others: Positions
    owners: Positions
    values: Floats


def sort_for(ratings: Ratings, side: int) -> Sorted:
    """Sorts the ratings by `side`; `others` has row numbers in the stack of all sides."""
    rest = [other for other in range(len(ratings.sizes)) if other != side]
    order = np.arange(len(ratings.values))
    for key in (*reversed(rest), side):
        indptr, order = _grouped(ratings.places[:, key], order, ratings.sizes[key])
    offsets = stack_offsets(ratings.sizes)
    others = ratings.places[:, rest] + np.array([offsets[other] for other in rest], np.int32)
    return Sorted(
        indptr,
        order,
        np.ascontiguousarray(others[order]),
        np.ascontiguousarray(ratings.places[order, USER]),
        ratings.values[order],
    )


def stack_offsets(sizes: Sequence[int]) -> npt.NDArray[np.int64]:
    """Returns the start of each side's rows in the stack of all sides."""
    return np.concatenate([[0], np.cumsum(sizes)])


@compiled
def _grouped(keys: Positions, order: Ints, count: int) -> tuple[Ints, Ints]:
    """A stable counting sort of `order` by the keys it points to."""
    indptr = np.zeros(count + 1, np.int64)
    for key in keys:
        indptr[key + 1] += 1
    indptr = np.cumsum(indptr)
    position, out = indptr[:-1].copy(), np.empty_like(order)
    for entry in order:
        key = keys[entry]
        out[position[key]] = entry
        position[key] += 1
    return indptr, out
