"""Block-wise top-k against a full sort."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from matchlake.engine import top_k as topk
from matchlake.engine.top_k import (
    TargetLists,
    lists_of,
    pack_targets,
    pick_lists,
    top_k,
    top_k_among,
)


def whole_numbers(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Small integers: sums are exact in any order, and many scores are equal."""
    return rng.integers(-3, 4, shape).astype(np.float32)


def oracle(scores: np.ndarray, k: int) -> list[list[int]]:
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return [
        [int(p) for p in row if line[p] > -np.inf] for row, line in zip(order, scores, strict=True)
    ]


def places(best: topk.Best) -> list[list[int]]:
    return [[int(p) for p in row if p >= 0] for row in best.places]


@pytest.mark.parametrize(("queries", "targets", "k"), [(5, 3, 4), (130, 500, 1), (300, 9000, 100)])
def test_lists_are_those_of_a_full_sort(queries: int, targets: int, k: int) -> None:
    rng = np.random.default_rng(k)
    left, right = whole_numbers(rng, (queries, 5)), whole_numbers(rng, (targets, 5))
    owners = rng.integers(0, queries, 20 * queries).astype(np.int32)
    seen = rng.integers(0, targets, len(owners)).astype(np.int32)
    owners[:targets], seen[:targets] = 0, np.resize(np.arange(targets), len(seen))[:targets]
    scores = left @ right.T
    scores[owners, seen] = -np.inf
    best = top_k(left, pack_targets(right), k, lists_of(owners, seen, queries, targets))
    assert places(best) == oracle(scores, k)
    assert best.scores[-1, 0] == scores[-1].max()


def test_a_query_that_is_unknown_gets_the_plain_scores() -> None:
    queries = np.array([[1.0, 0.0], [np.nan, np.nan]], np.float32)
    targets = np.array([[3.0, 9], [2, 9], [1, 9]], np.float32)
    plain = np.array([0.1, 0.3, 0.2], np.float32)
    nothing = TargetLists(np.zeros(3, np.int64), np.zeros(0, np.int32))
    best = top_k(queries, pack_targets(targets), 2, nothing, plain)
    assert best.places.tolist() == [[0, 1], [1, 2]]
    assert best.scores[1].tolist() == pytest.approx([0.3, 0.2])


@given(st.integers(1, 300), st.integers(1, 700), st.integers(1, 70), st.integers(0, 2**32))
@settings(max_examples=30, deadline=None)
def test_a_score_is_the_same_to_the_bit_whatever_stands_beside_it(
    queries: int, targets: int, columns: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    left = rng.normal(size=(queries, columns)).astype(np.float32)
    right = rng.normal(size=(targets, columns)).astype(np.float32)
    nothing = TargetLists(np.zeros(queries + 1, np.int64), np.zeros(0, np.int32))
    best = top_k(left, pack_targets(right), 20, nothing)
    order = rng.permutation(queries)[:7]
    again = top_k(left[order], pack_targets(right), 20, nothing)
    assert np.array_equal(again.places, best.places[order])
    assert np.array_equal(again.scores, best.scores[order])
    # One chain of fused multiply-adds: exact products, a sum rounded to float32 at each column.
    query, place = left[order[0]], best.places[order[0], 0]
    total = np.float32(0.0)
    for a, b in zip(query, right[place], strict=True):
        total = np.float32(np.longdouble(a) * np.longdouble(b) + np.longdouble(total))
    assert total == best.scores[order[0], 0]


def test_no_queries_have_no_lists() -> None:
    nothing = TargetLists(np.zeros(1, np.int64), np.zeros(0, np.int32))
    best = top_k(np.ones((0, 3), np.float32), pack_targets(np.ones((4, 3), np.float32)), 2, nothing)
    assert best.places.shape == (0, 2)


def test_a_list_has_no_more_room_than_targets() -> None:
    queries, targets = np.ones((2, 3), np.float32), np.ones((4, 3), np.float32)
    nothing = TargetLists(np.zeros(3, np.int64), np.zeros(0, np.int32))
    best = top_k(queries, pack_targets(targets), 10**15, nothing)
    assert best.places.tolist() == [[0, 1, 2, 3]] * 2
    assert top_k(queries, pack_targets(targets[:0]), 5, nothing).places.shape == (2, 0)
    among = lists_of(np.array([0, 1, 1]), np.array([2, 0, 3]), 2, 4)
    found = top_k_among(queries, targets, 10**15, among)
    assert places(found) == [[2], [0, 3]]


def test_own_candidates_only() -> None:
    rng = np.random.default_rng(0)
    queries, targets = whole_numbers(rng, (4, 5)), whole_numbers(rng, (30, 5))
    among = lists_of(np.array([0, 0, 2, 2, 2]), np.array([5, 3, 9, 1, 20]), 4, 30)
    best = top_k_among(queries, targets, 2, among)
    allowed = np.full((4, 30), -np.inf)
    for row, place in [(0, 5), (0, 3), (2, 9), (2, 1), (2, 20)]:
        allowed[row, place] = queries[row] @ targets[place]
    assert places(best) == oracle(allowed, 2)


def test_lists_are_picked_in_any_order() -> None:
    lists = lists_of(np.array([2, 0, 2, 1, -1]), np.array([7, 4, 5, 6, 1]), 3, 8)
    picked = pick_lists(lists, np.array([2, -1, 0]))
    assert picked.indptr.tolist() == [0, 2, 2, 3]
    assert picked.places.tolist() == [5, 7, 4]
