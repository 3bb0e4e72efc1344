"""The k best targets of each query, by blocks: BLAS for the scores, then a selection by row.

Memory is one block of scores, QUERIES x TARGETS, whatever there is to leave out. Ties go to the
target that comes first, so that a rerun gives the same lists.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from matchlake.errors import ParameterError
from matchlake.recommender.blocks import Floats, Ints, Positions, csr_from_pairs
from matchlake.recommender.simd import LANES, any_above, compiled, load, splat

QUERIES, TARGETS = 128, 4096
"""Rows and columns of a block of scores: 2 MiB, which stays near the core."""

_SPARE = 4
"""Lists have room for so many times k candidates before they are cut back to k."""
_SIGN, _REST, _PLACE = 0x80000000, 0x7FFFFFFF, 0xFFFFFFFF
_NOTHING = np.float32(-np.inf)


class Lists(NamedTuple):
    """For each query the places of some targets, ascending.

    Those of query `q` stand at `indptr[q]:indptr[q + 1]`.
    """

    indptr: Ints
    places: Positions


class Best(NamedTuple):
    """Shape (queries, k), best first; `places` is -1 past the last target a query may have.

    There are no more columns than targets.
    """

    places: Positions
    scores: Floats


def require_k(k: int) -> None:
    """Raises ParameterError unless lists of length `k` can be asked for."""
    if k < 1:
        raise ParameterError(
            f"k={k} must be 1 or more: it is the length of a list. Lists are shorter of themselves "
            "where fewer are left."
        )


def top_k(
    queries: Floats,
    targets: Floats,
    k: int,
    without: Lists,
    plain: Floats | None = None,
    *,
    steady: bool = False,
) -> Best:
    """The `k` targets with the largest `queries @ targets.T`, for each query.

    Args:
        queries: Shape (queries, columns); a row of NaN stands for a query that is unknown.
        targets: Shape (targets, columns).
        k: How many.
        without: For each query the targets to leave out.
        plain: The scores that an unknown query gets, shape (targets,).
        steady: Give a query the same scores, to the bit, whatever stands beside it. BLAS sums in
            an order that depends on the shape, so each block has all its rows then, however few
            the queries: 128 rows cost a single one forty times its time.
    """
    k = min(k, len(targets))
    best = _empty(len(queries), k)
    unknown = np.isnan(queries[:, 0])
    scores = np.empty((QUERIES, TARGETS), np.float32)
    height = min(QUERIES, len(queries))
    room = _Room(
        np.empty((height, _SPARE * k + LANES), np.uint64),
        np.empty(height, np.int64),
        np.empty(height, np.float32),
    )
    for top in range(0, len(queries), QUERIES):
        rows = slice(top, min(top + QUERIES, len(queries)))
        chunk = queries[rows]
        if steady and len(chunk) < QUERIES:
            chunk = np.pad(chunk, ((0, QUERIES - len(chunk)), (0, 0)))
        room.used[:], room.limits[:] = 0, _NOTHING
        for left in range(0, len(targets), TARGETS):
            part = targets[left : left + TARGETS]
            block = scores[: rows.stop - top, : len(part)]
            np.matmul(chunk, part.T, out=scores[: len(chunk), : len(part)])
            if plain is not None:
                block[unknown[rows]] = plain[left : left + TARGETS]
            _leave_out(block, left, top, without)
            _offer(scores, block.shape, left, k, room)
        _finish(room, k, best.scores[rows], best.places[rows])
    return best


class _Room(NamedTuple):
    """Candidates of each row of a block: the first `used` of its keys.

    A score up to the row's limit has no place in the list any more.
    """

    keys: npt.NDArray[np.uint64]
    used: Ints
    limits: Floats


def top_k_among(
    queries: Floats, targets: Floats, k: int, among: Lists, plain: Floats | None = None
) -> Best:
    """As `top_k`, but from each query's own list of targets."""
    k = min(k, len(targets))
    best = _empty(len(queries), k)
    for row, query in enumerate(queries):
        places = among.places[among.indptr[row] : among.indptr[row + 1]]
        unknown = plain is not None and len(query) > 0 and np.isnan(query[0])
        scores = plain[places] if plain is not None and unknown else targets[places] @ query
        order = np.argsort(-scores, kind="stable")[:k]
        best.places[row, : len(order)] = places[order]
        best.scores[row, : len(order)] = scores[order]
    return best


def _empty(queries: int, k: int) -> Best:
    return Best(np.full((queries, k), -1, np.int32), np.full((queries, k), _NOTHING, np.float32))


@compiled
def _leave_out(block: Floats, left: int, top: int, without: Lists) -> None:
    right = left + block.shape[1]
    for row in range(block.shape[0]):
        first, last = without.indptr[top + row], without.indptr[top + row + 1]
        first += np.searchsorted(without.places[first:last], left)
        for j in range(first, last):
            if without.places[j] >= right:
                break
            block[row, without.places[j] - left] = -np.inf


@compiled
def _key(score: np.float32, place: int) -> np.uint64:
    """One integer that orders candidates: a better score first, among equals an earlier place."""
    bits = np.int64(np.float32(score).view(np.int32))
    ordered = bits + _SIGN if bits >= 0 else ~bits & _REST
    return np.uint64(ordered << 32 | (_REST - place))


@compiled
def _score_of(key: np.uint64) -> np.float32:
    ordered = np.int64(key >> np.uint64(32))
    bits = ordered - _SIGN if ordered >= _SIGN else ~ordered | -_SIGN
    return np.float32(np.int32(bits).view(np.float32))


@compiled
def _offer(scores: Floats, shape: tuple[int, int], left: int, k: int, room: _Room) -> None:
    """Adds a block's scores that beat a row's limit, cutting back to k where the room ends."""
    stride, end = scores.shape[1], room.keys.shape[1] - LANES
    for row in range(shape[0]):
        keys, used, limit = room.keys[row], room.used[row], room.limits[row]
        for start in range(0, shape[1], LANES):
            whole = start + LANES <= shape[1]
            # Most sixteens end here, once the row holds good candidates.
            if whole and not any_above(load(scores, row * stride + start), splat(limit)):
                continue
            for j in range(start, min(start + LANES, shape[1])):
                keys[used] = _key(scores[row, j], left + j)
                used += scores[row, j] > limit
            if used > end:
                limit = _cut_back(keys, used, k)
                used = k
        room.used[row], room.limits[row] = used, limit


@compiled
def _cut_back(keys: npt.NDArray[np.uint64], used: int, k: int) -> np.float32:
    """Moves the k largest of the first `used` keys to the front; returns their smallest score."""
    low, high = 0, used
    while high - low > 1:
        middle = (low + high) // 2
        keys[low], keys[middle] = keys[middle], keys[low]
        pivot, at = keys[low], low
        for j in range(low + 1, high):
            # Without a branch: which way a key goes cannot be foreseen.
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
    return _score_of(np.min(keys[:k]))


@compiled
def _finish(room: _Room, k: int, scores: Floats, places: Positions) -> None:
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
            places[row, rank] = _REST - np.int64(key & np.uint64(_PLACE))


def lists_of(
    owners: Positions | Ints, places: Positions | Ints, queries: int, targets: int
) -> Lists:
    """Lists from (owner, place) pairs in any order; a pair with a negative number is left out."""
    kept = (owners >= 0) & (places >= 0)
    owners, places = owners[kept].astype(np.int32), places[kept].astype(np.int32)
    csr = csr_from_pairs(owners, places, np.zeros(len(owners), np.float32), (queries, targets))
    return Lists(csr.indptr, csr.columns)


def pick_lists(lists: Lists, rows: Positions) -> Lists:
    """The lists of some queries in a new order; a negative row has nothing."""
    first = np.where(rows >= 0, lists.indptr[rows], 0)
    counts = np.where(rows >= 0, lists.indptr[rows + 1], 0) - first
    indptr = np.concatenate([[0], np.cumsum(counts)])
    within = np.arange(indptr[-1]) - np.repeat(indptr[:-1], counts)
    return Lists(indptr, lists.places[np.repeat(first, counts) + within])
