"""Linear models: weighted sums of features."""

from functools import cached_property
from typing import TYPE_CHECKING, Literal, Self

import numpy as np
from pydantic import model_validator

from matchlake.formulas.heads.head import Head, Matrix
from matchlake.formulas.heads.links import Link
from matchlake.formulas.heads.sums import sum_last, sum_onnx, sum_sql
from matchlake.formulas.sql import Dialect, number_text

if TYPE_CHECKING:
    from matchlake.formulas.onnx import Graph

LARGEST_SQL = 1000
"""The maximum number of terms, over all scores, of a linear model in SQL."""


class LinearHead(Head):
    """`intercept + sum of weight * feature` for each score.

    Regression has one score and the link identity, or exp for counts. Two classes have one score
    and the link logit. More classes have one score each and the link softmax. A row with a missing
    feature has no prediction.
    """

    kind: Literal["linear"] = "linear"
    link: Literal["identity", "exp", "logit", "softmax"] = "identity"
    weights: tuple[tuple[float, ...], ...]
    """The weights: one list per score, with one weight per column."""
    intercepts: tuple[float, ...]
    """One intercept per score."""

    @model_validator(mode="after")
    def _check_shapes(self) -> Self:
        count = len(self.labels or ())
        expected = {"logit": 1, "softmax": count}.get(self.link, 1)
        if (self.link in ("logit", "softmax")) != bool(count):
            raise ValueError(
                f"the link {self.link} needs labels, and only classifications have them"
            )
        if self.link == "logit" and count != 2:  # noqa: PLR2004
            raise ValueError(f"the link logit is for two labels, not {count}")
        if len(self.weights) != expected or len(self.intercepts) != expected:
            raise ValueError(f"weights and intercepts must be for {expected} score(s)")
        if any(len(row) != len(self.columns) for row in self.weights):
            raise ValueError(f"each score needs {len(self.columns)} weights, one per column")
        return self

    def output_link(self) -> Link:
        """The link."""
        return self.link

    def size(self) -> int:
        """The number of weights."""
        return len(self.weights) * len(self.columns)

    def sql_limit(self) -> str | None:
        """Returns a reason for many terms, because engines compile such SQL slowly."""
        if self.size() <= LARGEST_SQL:
            return None
        return f"it has {self.size()} terms, and SQL has at most {LARGEST_SQL}"

    def scores(self, matrix: Matrix) -> Matrix:
        """The weighted sums of each row."""
        weights, intercepts = self._arrays
        sums = [sum_last(matrix * row) for row in weights]
        return np.column_stack(sums) + intercepts

    def sql_scores(self, dialect: Dialect) -> list[str]:
        """The weighted sums as SQL."""
        columns = [f"CAST({dialect.identifier(name)} AS DOUBLE)" for name in self.columns]
        texts = []
        for row, intercept in zip(self.weights, self.intercepts, strict=True):
            terms = [f"{c} * {number_text(w)}" for c, w in zip(columns, row, strict=True)]
            texts.append(f"({sum_sql(terms)} + {number_text(intercept)})")
        return texts

    def onnx_scores(self, graph: "Graph", matrix: str) -> str:
        """Adds the weighted sums to the graph; MatMul would add in an unknown order."""
        weights, intercepts = self._arrays
        rows = graph.add("Unsqueeze", matrix, graph.integers([1]))
        terms = graph.add("Mul", rows, graph.constant(weights))
        sums = sum_onnx(graph, terms, len(self.columns), 2)
        return graph.add("Add", sums, graph.constant(intercepts))

    @cached_property
    def _arrays(self) -> tuple[Matrix, Matrix]:
        return np.array(self.weights, np.float64), np.array(self.intercepts, np.float64)
