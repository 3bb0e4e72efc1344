"""Tree models: one decision tree, or the sum or mean of many, with all numbers as doubles."""

from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from matchlake.formulas.heads.head import Head, Matrix
from matchlake.formulas.heads.links import Link
from matchlake.formulas.heads.sums import sum_last, sum_sql
from matchlake.formulas.heads.tree_checks import check_forest
from matchlake.formulas.heads.tree_graph import onnx_tree_scores
from matchlake.formulas.numpy import rows_with_nan
from matchlake.formulas.sql import Dialect, number_text

if TYPE_CHECKING:
    from matchlake.formulas.onnx import Graph

LARGEST_SQL, DEEPEST_SQL = 300, 30
"""The maximum numbers of nodes and levels in SQL: engines compile nested CASE slowly."""
_CELLS = 400_000
Index = Annotated[int, Field(ge=0)]
Indices = npt.NDArray[np.int64]


class Nodes(NamedTuple):
    """The nodes of all trees as arrays. The children of a leaf are the leaf itself."""

    column: Indices
    threshold: Matrix
    missing_left: npt.NDArray[np.bool_]
    left: Indices
    right: Indices
    values: Indices
    """The position of a leaf's values."""


class TreesHead(Head):
    """Trees that compare `feature <= threshold` and add up the values of the leaves.

    The nodes of all trees lie in one list, and children have higher numbers than their parents.
    A leaf has `width` values. They are added to consecutive scores, starting at the tree's target.
    """

    kind: Literal["trees"] = "trees"
    link: Literal["identity", "exp", "logit", "softmax"] = "identity"
    aggregate: Literal["sum", "mean"] = "sum"
    """Whether the values of the trees are summed up, or averaged."""
    missing: Literal["routed", "null"] = "routed"
    """`node`: each node sends missing values to one side. `null`: a missing feature gives no
    prediction."""
    base: tuple[float, ...] = Field(min_length=1)
    """The initial value of each score."""
    width: int = Field(1, ge=1)
    """Values per leaf: one, or as many as scores."""
    roots: tuple[Index, ...] = Field(min_length=1)
    """The root of each tree."""
    targets: tuple[Index, ...]
    """The score that each tree's leaf values are added to; 0 where a leaf has a value per score."""
    column: tuple[Annotated[int, Field(ge=-1)], ...]
    """The position of each node's column; -1 for a leaf."""
    threshold: tuple[float | None, ...]
    """Values up to the threshold go left. Null: all values that are not missing go left."""
    missing_left: tuple[bool, ...]
    """Whether a missing value goes left."""
    left: tuple[Index, ...]
    """The node to the left; for a leaf the position of its values, in units of `width`."""
    right: tuple[Index, ...]
    """The node to the right; 0 for a leaf."""
    values: tuple[float, ...]
    """The values of all leaves."""

    @model_validator(mode="after")
    def _check_shapes(self) -> Self:
        check_forest(self)
        return self

    def output_link(self) -> Link:
        """The link."""
        return self.link

    def size(self) -> int:
        """The number of nodes."""
        return len(self.column)

    @cached_property
    def depth(self) -> int:
        """The steps from a root to the deepest leaf."""
        depth = [0] * self.size()
        for node, column in enumerate(self.column):
            if column >= 0:
                for child in (self.left[node], self.right[node]):
                    depth[child] = max(depth[child], depth[node] + 1)
        return max(depth)

    def sql_limit(self) -> str | None:
        """Returns a reason for large trees, because engines compile nested CASE slowly."""
        if self.size() > LARGEST_SQL:
            return f"its trees have {self.size()} nodes, and SQL has at most {LARGEST_SQL}"
        if self.depth > DEEPEST_SQL:
            return f"its trees have {self.depth} levels, and SQL has at most {DEEPEST_SQL}"
        return None

    def scores(self, matrix: Matrix) -> Matrix:
        """The sums, or means, of the leaf values of each row."""
        rows = max(1, _CELLS // (len(self.roots) * self.width))
        parts = [
            self._scores(np.ascontiguousarray(matrix[first : first + rows]))
            for first in range(0, max(1, len(matrix)), rows)
        ]
        return np.concatenate(parts)

    def _scores(self, matrix: Matrix) -> Matrix:
        values = self.leaf_values[self._leaves(matrix)]
        if self.width > 1:
            sums = sum_last(values.swapaxes(1, 2))
        else:
            per_score = [sum_last(values[:, trees, 0]) for trees in self.trees_by_score]
            sums = np.column_stack(per_score)
        return self.finished(sums, matrix)

    def finished(self, sums: Matrix, matrix: Matrix) -> Matrix:
        """Returns the scores, from the sums (rows, scores) of the trees' values."""
        if self.aggregate == "mean":
            sums = sums / len(self.roots)
        sums = sums + np.array(self.base)
        if self.missing == "null":
            sums = np.where(rows_with_nan(matrix)[:, None], np.nan, sums)
        return sums

    def _leaves(self, matrix: Matrix) -> Indices:
        """The position of the values of the leaf that each row reaches in each tree."""
        nodes = self.nodes
        current = np.tile(np.array(self.roots), (len(matrix), 1))
        flat, first = matrix.ravel(), np.arange(len(matrix))[:, None] * matrix.shape[1]
        any_missing = bool(np.isnan(matrix).any())
        for _ in range(self.depth):
            value = flat[first + nodes.column[current]]
            goes_left = value <= nodes.threshold[current]
            if any_missing:
                goes_left |= np.isnan(value) & nodes.missing_left[current]
            current = np.where(goes_left, nodes.left[current], nodes.right[current])
        found: Indices = nodes.values[current]
        return found

    @cached_property
    def nodes(self) -> Nodes:
        """The nodes as arrays."""
        column = np.array(self.column)
        leaf, own = column < 0, np.arange(len(column))
        threshold = np.array([np.inf if each is None else each for each in self.threshold])
        left, right = np.array(self.left), np.array(self.right)
        return Nodes(
            column=np.where(leaf, 0, column),
            threshold=threshold,
            missing_left=np.array(self.missing_left),
            left=np.where(leaf, own, left),
            right=np.where(leaf, own, right),
            values=np.where(leaf, left, 0),
        )

    @cached_property
    def leaf_values(self) -> Matrix:
        """The values (leaves, width)."""
        return np.array(self.values, np.float64).reshape(-1, self.width)

    @cached_property
    def trees_by_score(self) -> list[Indices]:
        """Returns the trees of each score; only for leaves with one value."""
        targets = np.array(self.targets)
        return [np.flatnonzero(targets == score) for score in range(len(self.base))]

    def sql_scores(self, dialect: Dialect) -> list[str]:
        """The sums, or means, of nested CASE expressions."""
        texts = []
        for score, base in enumerate(self.base):
            trees = [
                self._sql_node(root, score if self.width > 1 else 0, dialect)
                for root, target in zip(self.roots, self.targets, strict=True)
                if self.width > 1 or target == score
            ]
            total = sum_sql(trees)
            if self.aggregate == "mean":
                total = f"({total} / {number_text(len(self.roots))})"
            texts.append(self._sql_missing(f"({total} + {number_text(base)})", dialect))
        return texts

    def _sql_missing(self, text: str, dialect: Dialect) -> str:
        if self.missing == "routed":
            return text
        absent = [f"{dialect.identifier(name)} IS NULL" for name in self.columns]
        return f"CASE WHEN {' OR '.join(absent)} THEN NULL ELSE {text} END"

    def _sql_node(self, node: int, offset: int, dialect: Dialect) -> str:
        position = self.column[node]
        if position < 0:
            return number_text(self.values[self.left[node] * self.width + offset])
        column, threshold = dialect.identifier(self.columns[position]), self.threshold[node]
        left, right = (
            self._sql_node(each, offset, dialect) for each in (self.left[node], self.right[node])
        )
        if threshold is None:
            condition = "TRUE" if self.missing_left[node] else f"{column} IS NOT NULL"
        else:
            condition = f"{column} <= {number_text(threshold)}"
            if self.missing_left[node]:
                condition = f"{column} IS NULL OR {condition}"
        return f"CASE WHEN {condition} THEN {left} ELSE {right} END"

    def onnx_scores(self, graph: "Graph", matrix: str) -> str:
        """The operator TreeEnsemble, in double."""
        return onnx_tree_scores(self, graph, matrix)
