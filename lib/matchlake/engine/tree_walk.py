"""Walks many decision trees for many rows, as compiled code.

The rows go through a tree in blocks, one level at a time, so that the loads of many rows overlap.
Each column lies in a block three times: missing values as minus infinity, as plus infinity, and as
a mark. A node reads the one that sends a missing value its way, and makes a single comparison.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from matchlake.engine.simd import compiled

Matrix = npt.NDArray[np.float64]
Words = npt.NDArray[np.uint64]

_ROWS = 64
"""Rows of a block: with some columns a block fits into the nearest cache."""
_COLUMN_BITS = 20
_MASK = (1 << _COLUMN_BITS) - 1
_LEVELS = 40
"""More than the logarithm of the number of trees."""


class Forest(NamedTuple):
    """Trees whose sibling nodes are neighbours; a leaf leads to itself."""

    threshold: Matrix
    """A row goes right if its value is above."""
    packed: Words
    """The left child, and the column of a block that a node compares."""
    roots: Words
    depths: npt.NDArray[np.int64]
    """The levels of each tree."""
    leaf: npt.NDArray[np.int64]
    """The position of a leaf's values."""
    values: Matrix
    """The values (leaves, width)."""
    targets: npt.NDArray[np.int64]
    """The score that the first value of a tree's leaf is added to."""
    scores: int


def pack_forest(
    nodes: Any, roots: Sequence[int], values: Matrix, targets: Sequence[int], scores: int
) -> Forest:
    """The forest of trees with the arrays column, threshold, missing_left, left, right, values.

    In `nodes` a leaf leads to itself, and an infinite threshold sends every present value left.
    """
    columns = int(nodes.column.max()) + 1
    size = len(nodes.column)
    leaf = nodes.left == np.arange(size)
    order, place, depths = _siblings(nodes, leaf, roots)
    copy = np.where(nodes.missing_left, 0, np.where(np.isinf(nodes.threshold), 2, 1))
    threshold = np.where(copy == 2, 0.5, nodes.threshold)  # noqa: PLR2004 - the third copy
    column = np.where(leaf, 0, nodes.column * 3 + copy)
    packed = place[nodes.left].astype(np.uint64) << np.uint64(_COLUMN_BITS)
    if columns * 3 > _MASK:
        raise ValueError(f"trees read {columns} columns; at most {_MASK // 3}")
    return Forest(
        threshold=np.where(leaf, np.inf, threshold)[order],
        packed=(packed | column.astype(np.uint64))[order],
        roots=place[np.asarray(roots)].astype(np.uint64),
        depths=depths,
        leaf=nodes.values[order],
        values=values,
        targets=np.asarray(targets, np.int64),
        scores=scores,
    )


def _siblings(nodes: Any, leaf: Any, roots: Sequence[int]) -> tuple[Any, Any, Any]:
    """The nodes in an order with siblings side by side, the place of each, the depth of trees."""
    left, right, is_leaf = nodes.left.tolist(), nodes.right.tolist(), leaf.tolist()
    order: list[int] = []
    depths = []
    for root in roots:
        level, depth = [root], -1
        while level:
            order += level
            below: list[int] = []
            for node in level:
                if not is_leaf[node]:
                    below += (left[node], right[node])
            level, depth = below, depth + 1
        depths.append(depth)
    ordered = np.array(order)
    place = np.empty(len(order), np.int64)
    place[ordered] = np.arange(len(order))
    return ordered, place, np.array(depths)


def walk_forest(forest: Forest, matrix: Matrix) -> Matrix:
    """The sums (rows, scores) of the values of the leaves that each row reaches.

    Neighbouring trees are added, then neighbouring results: any program that keeps this order gets
    the same bits.
    """
    out = np.empty((len(matrix), forest.scores))
    _walk(forest, np.ascontiguousarray(matrix), out)
    return out


@compiled
def _walk(forest: Forest, matrix: Matrix, out: Matrix) -> None:
    rows, columns = matrix.shape
    block = np.empty(columns * 3 * _ROWS)
    node = np.empty(_ROWS, np.uint64)
    partial = np.empty((forest.scores, _LEVELS, _ROWS))
    added = np.empty(forest.scores, np.int64)
    for first in range(0, rows, _ROWS):
        count = min(_ROWS, rows - first)
        _fill(block, matrix[first : first + count])
        added[:] = 0
        for tree in range(len(forest.roots)):
            node[:] = forest.roots[tree]
            for _ in range(forest.depths[tree]):
                _step(node, block, forest.threshold, forest.packed)
            for offset in range(forest.values.shape[1]):
                score = forest.targets[tree] + offset
                _push(partial[score], added[score], node, forest, offset)
                added[score] += 1
        for score in range(forest.scores):
            _collect(partial[score], added[score], out[first : first + count, score])


@compiled
def _fill(block: Matrix, rows: Matrix) -> None:
    """The three copies of each column; the last row fills up a block."""
    for column in range(rows.shape[1]):
        start = column * 3 * _ROWS
        for row in range(_ROWS):
            value = rows[min(row, len(rows) - 1), column]
            missing = np.isnan(value)
            block[start + row] = -np.inf if missing else value
            block[start + _ROWS + row] = np.inf if missing else value
            block[start + 2 * _ROWS + row] = 1.0 if missing else 0.0


@compiled
def _step(node: Words, block: Matrix, threshold: Matrix, packed: Words) -> None:
    """One level down; unsigned numbers spare a check for negative positions."""
    for row in range(_ROWS):
        at = node[row]
        entry = packed[at]
        place = (entry & np.uint64(_MASK)) * np.uint64(_ROWS) + np.uint64(row)
        right = np.uint64(block[place] > threshold[at])
        node[row] = (entry >> np.uint64(_COLUMN_BITS)) + right


@compiled
def _push(partial: Matrix, added: int, node: Words, forest: Forest, offset: int) -> None:
    """Adds a tree's values: sums of 1, 2, 4, ... trees wait for another one of their size."""
    level = 0
    while added >> level & 1:
        level += 1
    for row in range(_ROWS):
        value = forest.values[forest.leaf[node[row]], offset]
        for below in range(level):
            value = partial[below, row] + value
        partial[level, row] = value


@compiled
def _collect(partial: Matrix, added: int, out: Matrix) -> None:
    """The sum of the waiting sums, the smallest first."""
    for row in range(len(out)):
        total, begun = 0.0, False
        for level in range(_LEVELS):
            if added >> level & 1:
                total = partial[level, row] + total if begun else partial[level, row]
                begun = True
        out[row] = total
