"""Bucketize: a number becomes the ordinal of its bucket."""

from itertools import pairwise
from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from matchlake.features.numeric import NumberStatistics, NumericEncoder
from matchlake.formulas.tree import Constant, Expression, when


class Bucketize(NumericEncoder):
    """The number of edges at or below the value: 0 below the first edge, 1 below the second, ...

    The edges are fixed, or they are approximate quantiles, where equal ones count once.
    """

    kind: Literal["bucketize"] = "bucketize"
    edges: tuple[float, ...] | None = None
    """Fixed edges in rising order; n edges make n + 1 buckets."""
    buckets: int | None = Field(None, ge=2, le=1000)
    """Make about this many buckets with equally many rows each."""

    output_type: ClassVar[Literal["DOUBLE", "INT"]] = "INT"

    @model_validator(mode="after")
    def _check_edges(self) -> Self:
        if (self.edges is None) == (self.buckets is None):
            raise ValueError("bucketize needs either edges or buckets, not both")
        if self.edges is not None and not all(a < b for a, b in pairwise(self.edges)):
            raise ValueError("edges must be in ascending order")
        return self

    def quantiles(self) -> tuple[float, ...]:
        """The inner quantiles, unless the edges are fixed."""
        parts = self.buckets or 1
        return tuple(sorted({*super().quantiles(), *(i / parts for i in range(1, parts))}))

    def fitted_edges(self, learned: NumberStatistics) -> tuple[float, ...]:
        """The edges in rising order."""
        if self.edges is not None:
            return self.edges
        parts = self.buckets or 1
        return tuple(sorted({learned.quantile(i / parts) for i in range(1, parts)}))

    def scale(self, value: Expression, learned: NumberStatistics, name: str) -> Expression:  # noqa: ARG002
        """The number of edges at or below the value."""
        count: Expression = Constant(0.0)
        for edge in self.fitted_edges(learned):
            count = count + when(value >= edge, 1.0, 0.0)
        return count

    def unscale(self, value: Expression, learned: NumberStatistics) -> None:  # noqa: ARG002
        """There is no inverse."""
        return

    def describe(self, learned: NumberStatistics) -> str:
        """The edges."""
        edges = ", ".join(f"{edge:g}" for edge in self.fitted_edges(learned))
        return f"number of these edges at or below it: {edges}"
