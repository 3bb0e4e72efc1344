"""Numbers to the ordinal of the bucket they fall into."""

from itertools import pairwise
from typing import Literal, Self

from pydantic import Field, model_validator

from matchlake.features.scaling import NumberFeature, NumberStatistics
from matchlake.formulas.tree import Constant, Expression, when


class Bucket(NumberFeature):
    """The number of edges at or below the value: 0 below the first edge, and so on up.

    Edges are given, or are approximate quantiles, equal ones counted once.
    """

    kind: Literal["bucket"] = "bucket"
    edges: tuple[float, ...] | None = None
    """Fixed edges, rising; n edges make n + 1 buckets."""
    quantiles: int | None = Field(None, ge=2, le=1000)
    """Make about this many buckets of equally many rows."""

    @model_validator(mode="after")
    def _check_edges(self) -> Self:
        if (self.edges is None) == (self.quantiles is None):
            raise ValueError("a bucket feature takes either edges or quantiles")
        if self.edges is not None and not all(a < b for a, b in pairwise(self.edges)):
            raise ValueError("edges must rise")
        return self

    def shares(self) -> tuple[float, ...]:
        """The inner quantiles, where there are no fixed edges."""
        parts = self.quantiles or 1
        return tuple(sorted({*super().shares(), *(i / parts for i in range(1, parts))}))

    def found_edges(self, learned: NumberStatistics) -> tuple[float, ...]:
        """The edges, rising."""
        if self.edges is not None:
            return self.edges
        parts = self.quantiles or 1
        return tuple(sorted({learned.quantile(i / parts) for i in range(1, parts)}))

    def scale(self, value: Expression, learned: NumberStatistics, name: str) -> Expression:  # noqa: ARG002
        """How many edges are at or below the value."""
        count: Expression = Constant(0.0)
        for edge in self.found_edges(learned):
            count = count + when(value >= edge, 1.0, 0.0)
        return count

    def unscale(self, value: Expression, learned: NumberStatistics) -> None:  # noqa: ARG002
        """There is no way back."""
        return

    def describe(self, learned: NumberStatistics) -> str:
        """The edges."""
        edges = ", ".join(f"{edge:g}" for edge in self.found_edges(learned))
        return f"how many of these are at or below it: {edges}"
