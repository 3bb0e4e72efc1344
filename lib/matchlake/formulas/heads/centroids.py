"""Cluster models: the nearest of several centres."""

from functools import cached_property
from typing import TYPE_CHECKING, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from matchlake.formulas.heads.head import Head, Matrix, Task
from matchlake.formulas.heads.linear import LARGEST_SQL
from matchlake.formulas.heads.links import Link
from matchlake.formulas.heads.sums import sum_last, sum_onnx, sum_sql
from matchlake.formulas.sql import Dialect, number_text

if TYPE_CHECKING:
    from matchlake.formulas.onnx import Graph


class CentroidsHead(Head):
    """The Euclidean distance to each centre, and the number of the nearest one.

    A row with a missing feature has no prediction. If distances are equal, the first centre wins.
    """

    kind: Literal["centroids"] = "centroids"
    centers: tuple[tuple[float, ...], ...] = Field(min_length=1)
    """For each centre one number per column."""

    @model_validator(mode="after")
    def _check_shapes(self) -> Self:
        if self.labels is not None:
            raise ValueError("clusters have no labels")
        if any(len(row) != len(self.columns) for row in self.centers):
            raise ValueError(f"each centre needs {len(self.columns)} numbers, one per column")
        return self

    @property
    def task(self) -> Task:
        """Clustering."""
        return "clustering"

    def output_link(self) -> Link:
        """The nearest centre."""
        return "nearest"

    def size(self) -> int:
        """The number of coordinates."""
        return len(self.centers) * len(self.columns)

    def sql_limit(self) -> str | None:
        """Returns a reason for many terms, because engines compile such SQL slowly."""
        if self.size() <= LARGEST_SQL:
            return None
        return f"it has {self.size()} terms, and SQL has at most {LARGEST_SQL}"

    def scores(self, matrix: Matrix) -> Matrix:
        """The distances of each row."""
        squares = [sum_last(np.square(matrix - center)) for center in self._centers]
        return np.sqrt(np.column_stack(squares))

    def sql_scores(self, dialect: Dialect) -> list[str]:
        """The distances as SQL."""
        columns = [f"CAST({dialect.identifier(name)} AS DOUBLE)" for name in self.columns]
        texts = []
        for center in self.centers:
            apart = [f"({c} - {number_text(v)})" for c, v in zip(columns, center, strict=True)]
            texts.append(f"SQRT({sum_sql([f'{each} * {each}' for each in apart])})")
        return texts

    def onnx_scores(self, graph: "Graph", matrix: str) -> str:
        """Adds the distances to the graph; squared differences are added in a fixed order."""
        rows = graph.add("Unsqueeze", matrix, graph.integers([1]))
        apart = graph.add("Sub", rows, graph.constant(self._centers))
        squares = graph.add("Mul", apart, apart)
        return graph.add("Sqrt", sum_onnx(graph, squares, len(self.columns), 2))

    @cached_property
    def _centers(self) -> Matrix:
        return np.array(self.centers, np.float64)
