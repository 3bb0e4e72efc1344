"""Selects the k best targets of each query; scores stay in registers.

Targets are stored in panels of sixteen. Rows with the greatest norm come first, because most
queries find their best targets among them. Six queries are scored against a panel at a time. Each
query has a limit, a lower bound of its k-th best score; lower scores are never written. Memory
holds the targets and, per query of a chunk, a few times k candidates and one bit per target.

Every score is one chain of fused multiply-adds in the order of the columns. So a score is
bit-identical in every batch and on every machine. Of equal scores the first target wins, so a rerun
gives the same lists.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from matchlake.engine.csr import Floats, Ints, Positions, csr_from_pairs
from matchlake.engine.simd import (
    LANES,
    compiled,
    fma,
    load,
    lowest,
    reaches,
    repeat,
    splat,
    store,
)
from matchlake.errors import ParameterError

_TOGETHER = 6
"""Queries that are scored at a time; their scores take 12 of the 16 registers of AVX2."""
_QUERIES = 20 * _TOGETHER
"""Queries of a chunk, all scored against one block of panels before the next block."""
_BLOCK = 1 << 18
"""Bytes of a block of panels, which fits the cache."""
_SPARE = 4
"""Capacity of a list of candidates, as a multiple of k; a full list is reduced to k."""
_WORD = 64
"""Targets per word of bits."""
_SIGN, _REST, _PLACE = 0x80000000, 0x7FFFFFFF, 0xFFFFFFFF
_NOTHING = np.float32(-np.inf)


class Targets(NamedTuple):
    """A matrix of targets in the layout of `top_k`; `pack_targets` builds it."""

    panels: Floats
    """Shape (panels, columns, LANES); lanes past the last target are NaN, below every limit."""
    places: Positions
    """The row of the matrix in each lane of the panels, one after another."""
    size: int
    """Rows of the matrix."""


class TargetLists(NamedTuple):
    """The indices of some targets per query, ascending.

    The list of query `q` is `places[indptr[q]:indptr[q + 1]]`.
    """

    indptr: Ints
    places: Positions


class Best(NamedTuple):
    """Shape (queries, k), best first; `places` is -1 past the last allowed target.

    There are at most as many columns as targets.
    """

    places: Positions
    scores: Floats


def require_k(k: int) -> None:
    """Raises ParameterError unless `k` is a length of lists."""
    whole = isinstance(k, int | np.integer) and not isinstance(k, bool)
    if not whole or k < 1:
        raise ParameterError(
            f"k={k} must be 1 or more: it is the length of a list. A list may be shorter when "
            "fewer candidates remain."
        )


def pack_targets(matrix: Floats) -> Targets:
    """A matrix of shape (targets, columns) in panels, the rows of greatest length first."""
    count, columns = matrix.shape
    panels = -(-count // LANES)
    indices = np.zeros(panels * LANES, np.int32)
    indices[:count] = np.argsort(-np.einsum("tc,tc->t", matrix, matrix), kind="stable")
    padded = np.full((panels * LANES, columns), np.nan, np.float32)
    padded[:count] = matrix[indices[:count]]
    turned = padded.reshape(panels, LANES, columns).transpose(0, 2, 1)
    return Targets(np.ascontiguousarray(turned), indices, count)


def top_k(
    queries: Floats, targets: Targets, k: int, without: TargetLists, plain: Floats | None = None
) -> Best:
    """The `k` targets of each query with the largest dot products.

    Args:
        queries: Shape (queries, columns); a row of NaN is an unknown query.
        targets: The targets, with the columns of the queries.
        k: The length of a list.
        without: The targets to exclude, per query.
        plain: The scores for an unknown query, shape (targets,).
    """
    k = min(k, targets.size)
    best = _empty(len(queries), k)
    panels, columns = targets.panels.shape[:2]
    common = np.full(panels * LANES, np.nan, np.float32)
    if plain is not None:
        common[: targets.size] = plain[targets.places[: targets.size]]
    packed = targets.panels.reshape(-1), common, targets.places
    step = max(1, _BLOCK // (4 * LANES * max(1, columns)))
    height = min(_QUERIES, max(1, -(-len(queries) // _TOGETHER)) * _TOGETHER)
    chunk = np.zeros((height // _TOGETHER, columns, _TOGETHER), np.float32)
    room = _empty_room(height, k, targets.size)
    for top in range(0, len(queries), height):
        rows = slice(top, min(top + height, len(queries)))
        padded = np.zeros((height, columns), np.float32)
        padded[: rows.stop - top] = queries[rows]
        chunk[:] = padded.reshape(-1, _TOGETHER, columns).transpose(0, 2, 1)
        bounds = without.indptr[top : rows.stop + 1]
        room.restart(padded, len(bounds) - 1)
        _refuse(room.refused, bounds, without.places)
        for begin in range(0, panels, step):
            block = begin, min(begin + step, panels)
            _scan(chunk.reshape(-1), packed, block, k, room)
        _finish(room, k, best.scores[rows], best.places[rows])
    return best


class _Room(NamedTuple):
    """The candidates of each query of a chunk: the first `used` of its keys.

    Keys up to `least` and scores below `limits` are not among the best of the query. `refused` has
    one bit per excluded target.
    """

    keys: npt.NDArray[np.uint64]
    used: Ints
    least: npt.NDArray[np.uint64]
    limits: Floats
    refused: npt.NDArray[np.uint64]
    unknown: npt.NDArray[np.bool_]

    def restart(self, queries: Floats, count: int) -> None:
        """Resets the candidates for the next `count` queries."""
        self.used[:], self.least[:], self.refused[:] = 0, 0, 0
        self.limits[:count], self.limits[count:] = _NOTHING, np.inf
        self.unknown[:] = np.isnan(queries[:, 0])


def _empty_room(height: int, k: int, targets: int) -> _Room:
    return _Room(
        np.empty((height, _SPARE * k + LANES), np.uint64),
        np.empty(height, np.int64),
        np.empty(height, np.uint64),
        np.empty(height, np.float32),
        np.empty((height, -(-targets // _WORD)), np.uint64),
        np.empty(height, np.bool_),
    )


def top_k_among(
    queries: Floats, targets: Floats, k: int, among: TargetLists, plain: Floats | None = None
) -> Best:
    """As `top_k`, but each query has its own list of targets, and `targets` is not packed."""
    k = min(k, len(targets))
    best = _empty(len(queries), k)
    for row, query in enumerate(queries):
        indices = among.places[among.indptr[row] : among.indptr[row + 1]]
        unknown = plain is not None and len(query) > 0 and np.isnan(query[0])
        scores = plain[indices] if plain is not None and unknown else targets[indices] @ query
        order = np.argsort(-scores, kind="stable")[:k]
        best.places[row, : len(order)] = indices[order]
        best.scores[row, : len(order)] = scores[order]
    return best


def select_top_k(scores: Floats, k: int, among: TargetLists | None = None) -> Best:
    """The `k` targets of each query with the largest `scores`, shape (queries, targets).

    A score of minus infinity is never chosen. With `among`, each query chooses from its own list.
    """
    k = min(k, scores.shape[1])
    best = _empty(len(scores), k)
    every = np.arange(scores.shape[1], dtype=np.int32)
    for row, own in enumerate(scores):
        indices = every if among is None else among.places[slice(*among.indptr[row : row + 2])]
        _select(own, indices, best.scores[row], best.places[row])
    return best


@compiled
def _select(scores: Floats, among: Positions, chosen: Floats, indices: Positions) -> None:
    """Writes the best of the indices `among`, as many as `chosen` holds."""
    k, used, minimum = len(chosen), 0, np.uint64(0)
    keys = np.empty(_SPARE * k + LANES, np.uint64)
    for index in among:
        score = scores[index] + np.float32(0.0)  # Adding 0 turns -0 into 0: keys compare bits.
        key = _key(score, index)
        if score > _NOTHING and key > minimum:
            keys[used] = key
            used += 1
            if used == len(keys):
                minimum = _cut_back(keys, used, k)
                used = k
    if used > k:
        _cut_back(keys, used, k)
        used = k
    ordered = np.sort(keys[:used])
    for rank in range(used):
        key = ordered[used - 1 - rank]
        chosen[rank] = _score_of(key)
        indices[rank] = _REST - np.int64(key & np.uint64(_PLACE))


def _empty(queries: int, k: int) -> Best:
    return Best(np.full((queries, k), -1, np.int32), np.full((queries, k), _NOTHING, np.float32))


@compiled
def _key(score: np.float32, index: int) -> np.uint64:
    """One integer that orders candidates: a better score first, among equals a smaller index."""
    bits = np.int64(np.float32(score).view(np.int32))
    ordered = bits + _SIGN if bits >= 0 else ~bits & _REST
    return np.uint64(ordered << 32 | (_REST - index))


@compiled
def _score_of(key: np.uint64) -> np.float32:
    ordered = np.int64(key >> np.uint64(32))
    bits = ordered - _SIGN if ordered >= _SIGN else ~ordered | -_SIGN
    return np.float32(np.int32(bits).view(np.float32))


@compiled
def _refuse(refused: npt.NDArray[np.uint64], bounds: Ints, indices: Positions) -> None:
    """Sets the bit of each index of each query's list."""
    for row in range(len(bounds) - 1):
        for at in range(bounds[row], bounds[row + 1]):
            refused[row, indices[at] // _WORD] |= np.uint64(1) << np.uint64(indices[at] % _WORD)


@compiled
def _scan(
    queries: Floats,
    targets: tuple[Floats, Floats, Positions],
    block: tuple[int, int],
    k: int,
    room: _Room,
) -> None:
    """Scores a chunk of queries against a block of panels, and stores candidates in `room`.

    `targets` has all panels, the scores for unknown queries, and the indices of the lanes.
    """
    panels, common, indices = targets
    columns, end = len(queries) // len(room.used), room.keys.shape[1] - LANES
    scores = np.empty(_TOGETHER * LANES, np.float32)
    for first in range(0, len(room.used), _TOGETHER):
        for panel in range(block[0], block[1]):
            _score(queries, first * columns, panels, panel * columns * LANES, columns, scores)
            for i in range(_TOGETHER):
                row, at = first + i, i * LANES
                if room.unknown[row]:
                    store(scores, at, load(common, panel * LANES))
                bits = reaches(load(scores, at), splat(room.limits[row]))
                if not bits:  # The usual case, once a query has good candidates.
                    continue
                keys, used, minimum = room.keys[row], room.used[row], room.least[row]
                while bits:
                    lane = lowest(bits)
                    bits &= bits - np.uint32(1)
                    index = indices[panel * LANES + lane]
                    word = room.refused[row, index // _WORD]
                    allowed = not word >> np.uint64(index % _WORD) & np.uint64(1)
                    keys[used] = key = _key(scores[at + lane], index)
                    used += allowed and key > minimum
                if used > end:
                    room.least[row] = minimum = _cut_back(keys, used, k)
                    room.limits[row] = _score_of(minimum)
                    used = k
                room.used[row] = used


@compiled
def _score(q: Floats, at: int, panels: Floats, panel: int, columns: int, scores: Floats) -> None:
    """Writes the scores of six rows of `q`, from offset `at`, with the panel at offset `panel`."""
    s0 = s1 = s2 = s3 = s4 = s5 = splat(np.float32(0.0))
    for c in range(columns):
        lanes, start = load(panels, panel + c * LANES), at + c * _TOGETHER
        s0 = fma(repeat(q, start), lanes, s0)
        s1 = fma(repeat(q, start + 1), lanes, s1)
        s2 = fma(repeat(q, start + 2), lanes, s2)
        s3 = fma(repeat(q, start + 3), lanes, s3)
        s4 = fma(repeat(q, start + 4), lanes, s4)
        s5 = fma(repeat(q, start + 5), lanes, s5)
    store(scores, 0, s0)
    store(scores, LANES, s1)
    store(scores, 2 * LANES, s2)
    store(scores, 3 * LANES, s3)
    store(scores, 4 * LANES, s4)
    store(scores, 5 * LANES, s5)


@compiled
def _cut_back(keys: npt.NDArray[np.uint64], used: int, k: int) -> np.uint64:
    """Moves the k largest of the first `used` keys to the front; returns the smallest of them."""
    low, high = 0, used
    while high - low > 1:
        middle = (low + high) // 2
        keys[low], keys[middle] = keys[middle], keys[low]
        pivot, at = keys[low], low
        for j in range(low + 1, high):
            # No branch: a processor cannot predict the result of the comparison.
            larger = keys[j] > pivot
            keys[at + 1], keys[j] = (keys[j], keys[at + 1]) if larger else (keys[at + 1], keys[j])
            at += larger
        keys[low], keys[at] = keys[at], keys[low]
        if at == k - 1 or at == k:
            break
        if at < k:
            low = at + 1
        else:
            high = at
    return np.min(keys[:k])


@compiled
def _finish(room: _Room, k: int, scores: Floats, indices: Positions) -> None:
    """Writes each row's k best, best first."""
    for row in range(scores.shape[0]):
        keys, used = room.keys[row], room.used[row]
        if used > k:
            _cut_back(keys, used, k)
            used = k
        ordered = np.sort(keys[:used])
        for rank in range(used):
            key = ordered[used - 1 - rank]
            scores[row, rank] = _score_of(key)
            indices[row, rank] = _REST - np.int64(key & np.uint64(_PLACE))


def lists_of(
    owners: Positions | Ints, indices: Positions | Ints, queries: int, targets: int
) -> TargetLists:
    """Target lists from pairs of `owners` (queries) and `indices` (targets), in any order.

    Pairs with a negative number are left out.
    """
    known = (owners >= 0) & (indices >= 0)
    owners, indices = owners[known].astype(np.int32), indices[known].astype(np.int32)
    csr = csr_from_pairs(owners, indices, np.zeros(len(owners), np.float32), (queries, targets))
    return TargetLists(csr.indptr, csr.columns)


def pick_lists(lists: TargetLists, rows: Positions) -> TargetLists:
    """The lists of the queries `rows`, in this order; a negative row gets an empty list."""
    first = np.where(rows >= 0, lists.indptr[rows], 0)
    counts = np.where(rows >= 0, lists.indptr[rows + 1], 0) - first
    indptr = np.concatenate([[0], np.cumsum(counts)])
    within = np.arange(indptr[-1]) - np.repeat(indptr[:-1], counts)
    return TargetLists(indptr, lists.places[np.repeat(first, counts) + within])
