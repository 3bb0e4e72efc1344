"""Scalers that subtract a centre and divide by a width."""

from typing import Literal

from pydantic import Field

from matchlake.features.scaling import NumberFeature, NumberStatistics
from matchlake.formulas.tree import Expression


class LinearFeature(NumberFeature):
    """`(x - centre) / width`; a column with a single value at fit has width 1."""

    def centre(self, learned: NumberStatistics) -> float:  # noqa: ARG002
        """What is subtracted."""
        return 0.0

    def width(self, learned: NumberStatistics) -> float:
        """What divides; zero counts as 1."""
        raise NotImplementedError

    def scale(self, value: Expression, learned: NumberStatistics, name: str) -> Expression:  # noqa: ARG002
        """The formula over a value that is not missing."""
        return (value - self.centre(learned)) / (self.width(learned) or 1.0)

    def unscale(self, value: Expression, learned: NumberStatistics) -> Expression:
        """The formula back."""
        return value * (self.width(learned) or 1.0) + self.centre(learned)

    def describe(self, learned: NumberStatistics) -> str:
        """The formula with its numbers."""
        return f"(x - {self.centre(learned):g}) / {self.width(learned) or 1.0:g}"


def centre_and_width(learned: NumberStatistics) -> tuple[float, float]:
    """Mean and standard deviation, exact where the column has a single value."""
    if learned.minimum == learned.maximum:
        return learned.minimum, 1.0
    return learned.known("mean"), learned.known("deviation") or 1.0


class ZScore(LinearFeature):
    """`(x - mean) / deviation`, with the standard deviation of the population."""

    kind: Literal["z_score"] = "z_score"

    def needs(self) -> set[str]:
        """Mean and deviation."""
        return super().needs() | {"mean", "deviation"}

    def centre(self, learned: NumberStatistics) -> float:
        """The mean."""
        return centre_and_width(learned)[0]

    def width(self, learned: NumberStatistics) -> float:
        """The standard deviation."""
        return centre_and_width(learned)[1]


class MaxAbs(LinearFeature):
    """`x / max|x|`: zero stays zero, and the rest lies between -1 and 1."""

    kind: Literal["max_abs"] = "max_abs"

    def width(self, learned: NumberStatistics) -> float:
        """The largest magnitude."""
        return max(abs(learned.minimum), abs(learned.maximum))


class Robust(LinearFeature):
    """`(x - median) / (upper - lower)`, by approximate quantiles, which outliers do not move."""

    kind: Literal["robust"] = "robust"
    lower: float = Field(0.25, ge=0, lt=0.5)
    """The share of the rows below the lower quantile."""
    upper: float = Field(0.75, gt=0.5, le=1)
    """The share of the rows below the upper quantile."""

    def shares(self) -> tuple[float, ...]:
        """The lower quantile, the median, the upper quantile."""
        return (self.lower, 0.5, self.upper)

    def centre(self, learned: NumberStatistics) -> float:
        """The median."""
        return learned.quantile(0.5)

    def width(self, learned: NumberStatistics) -> float:
        """The distance of the quantiles."""
        return learned.quantile(self.upper) - learned.quantile(self.lower)
