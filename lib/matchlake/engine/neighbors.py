"""The k nearest rows of each row, exactly, in double.

Rows of numbers go through the kernel of `top_k` in 32 bits, which gives some more candidates than
k. Their distances are computed again in double. A bound of the rounding errors says whether a row
outside the candidates could be nearer. The few rows for which it could are compared with all rows,
as are all rows if there are categories.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numba
import numpy as np
import numpy.typing as npt

from matchlake.engine.simd import compiled
from matchlake.engine.top_k import TargetLists, pack_targets, top_k

Doubles = npt.NDArray[np.float64]
Places = npt.NDArray[np.int64]
Codes = npt.NDArray[np.int32]

_SPARE = 8
"""Candidates beyond k."""
_CHUNK = 2048
_BLOCK = 512
_EPSILON = 2.0**-23


def nearest_rows(
    rows: Doubles,
    k: int,
    codes: Codes | None = None,
    penalty: float = 0.0,
    chosen: Places | None = None,
) -> Places:
    """The places (chosen, k) of the other rows nearest to each of the `chosen` rows; None: to all.

    The nearest come first. The squared distance is the Euclidean one plus `penalty` for each of the
    `codes` (rows, columns) that differ. Of equal distances the smaller place comes first. `k` is
    below the number of rows.
    """
    asked = np.arange(len(rows)) if chosen is None else chosen
    places = np.empty((len(asked), k), np.int64)
    labels = np.empty((0, len(rows)), np.int32) if codes is None else np.ascontiguousarray(codes.T)
    unsure = np.ones(len(asked), np.bool_)
    if not len(labels) and rows.shape[1]:
        unsure[:] = False
        _by_kernel(rows, asked, places, unsure)
    left = np.flatnonzero(unsure)
    if not len(left):
        return places
    columns = np.ascontiguousarray(rows.T)

    def compare(start: int) -> None:
        some = left[start : start + _CHUNK]
        found = np.empty((len(some), k), np.int64)
        _compare(columns, labels, penalty, asked[some], found)
        places[some] = found

    _in_threads(compare, range(0, len(left), _CHUNK))
    return places


def _by_kernel(
    rows: Doubles, chosen: Places, places: Places, unsure: npt.NDArray[np.bool_]
) -> None:
    """Fills in the places, and marks the chosen rows whose neighbours the kernel cannot tell."""
    (count, columns), k = rows.shape, places.shape[1]
    scaled = rows - (rows.min(axis=0) / 2 + rows.max(axis=0) / 2)
    largest = float(np.abs(scaled).max())
    if largest:
        scaled /= largest
    half = np.square(scaled).sum(axis=1) / 2
    single = np.column_stack([scaled, -half]).astype(np.float32)
    targets = pack_targets(single)
    wanted = min(k + _SPARE, count - 1)
    # Each product, each sum and the rounding of both factors adds at most this.
    longest = np.sqrt(2 * half.max())
    error = (columns + 4) * _EPSILON * (longest * np.sqrt(2 * half) + half.max())

    def search(start: int) -> None:
        at = slice(start, start + _CHUNK)
        own = chosen[at]
        alone = TargetLists(np.arange(len(own) + 1), own.astype(np.int32))
        queries = np.column_stack([scaled[own], np.ones(len(own))]).astype(np.float32)
        best = top_k(queries, targets, wanted, alone)
        candidates = np.sort(best.places, axis=1)  # so that a stable sort puts smaller ones first
        apart = np.empty(candidates.shape)
        _measure(rows, own, candidates, apart)
        order = np.argsort(apart, axis=1, kind="stable")[:, :k]
        places[at] = np.take_along_axis(candidates, order, axis=1)
        if wanted < count - 1:
            # Divided twice: the square of 1e-300 is 0.
            unit = largest or 1.0
            last = np.take_along_axis(apart, order[:, -1:], axis=1)[:, 0] / unit / unit
            beyond = 2 * half[own] - 2 * (best.scores[:, -1] + error[own])
            unsure[at] = ~(beyond > last)

    _in_threads(search, range(0, len(chosen), _CHUNK))


def _in_threads(work: Callable[[int], None], starts: range) -> None:
    threads = min(numba.get_num_threads(), len(starts))
    if threads <= 1:
        for start in starts:
            work(start)
        return
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, starts))


@compiled
def _measure(rows: Doubles, own: Places, candidates: npt.NDArray[np.int32], apart: Doubles) -> None:
    """The squared distances between rows and their candidates."""
    for i in range(len(own)):
        for j in range(candidates.shape[1]):
            total = 0.0
            for c in range(rows.shape[1]):
                total += (rows[own[i], c] - rows[candidates[i, j], c]) ** 2
            apart[i, j] = total


@compiled
def _compare(columns: Doubles, codes: Codes, penalty: float, chosen: Places, found: Places) -> None:
    """The nearest rows among all rows; columns and codes are (columns, rows)."""
    count, k = columns.shape[1], found.shape[1]
    apart, best = np.empty(_BLOCK), np.empty(k)
    for i in range(len(chosen)):
        own, used = chosen[i], 0
        for start in range(0, count, _BLOCK):
            size = min(_BLOCK, count - start)
            apart[:size] = 0.0
            for c in range(columns.shape[0]):
                value, column = columns[c, own], columns[c, start : start + size]
                for t in range(size):
                    apart[t] += (column[t] - value) ** 2
            for c in range(codes.shape[0]):
                code, labels = codes[c, own], codes[c, start : start + size]
                for t in range(size):
                    apart[t] += penalty if labels[t] != code else 0.0
            for t in range(size):
                if (used < k or apart[t] < best[k - 1]) and start + t != own:
                    at = min(used, k - 1)
                    while at > 0 and best[at - 1] > apart[t]:
                        best[at], found[i, at] = best[at - 1], found[i, at - 1]
                        at -= 1
                    best[at], found[i, at] = apart[t], start + t
                    used = min(used + 1, k)
