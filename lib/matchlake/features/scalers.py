"""Linear scalers: the number itself, min-max, z-score, max-abs and robust scaling."""

import math
from typing import Literal, Self

from pydantic import Field, model_validator

from matchlake.errors import InputError
from matchlake.features.numeric import NumberStatistics, NumericEncoder
from matchlake.formulas.tree import MISSING, Constant, Expression, Refuse, clip, when


class Number(NumericEncoder):
    """The number itself as a double; missing values follow `handle_null`."""

    kind: Literal["number"] = "number"

    def scale(self, value: Expression, learned: NumberStatistics, name: str) -> Expression:  # noqa: ARG002
        """The value."""
        return value

    def unscale(self, value: Expression, learned: NumberStatistics) -> Expression:  # noqa: ARG002
        """The value."""
        return value

    def describe(self, learned: NumberStatistics) -> str:  # noqa: ARG002
        """Says that the value does not change."""
        return "as it is"


class MinMax(NumericEncoder):
    """Scales the range at fit to `range`: `low + (x - min) / (max - min) * (high - low)`."""

    kind: Literal["min_max"] = "min_max"
    range: tuple[float, float] = (0.0, 1.0)
    """The scaled values of the smallest and of the largest value at fit."""
    constant: Literal["low", "middle", "high", "null"] = "low"
    """The scaled value where the column has a single value at fit: an end of `range`, its middle,
    or null."""
    out_of_range: Literal["clip", "keep", "null", "error"] = "clip"
    """What a value outside the range at fit becomes: the end of `range` (`clip`), a value outside
    it (`keep`), null, or an error. For a constant column `keep` gives what `constant` says."""

    @model_validator(mode="after")
    def _check_range(self) -> Self:
        low, high = self.range
        if not low < high:
            raise ValueError(f"range is {low} to {high}: the first number must be the smaller one")
        return self

    def scale(self, value: Expression, learned: NumberStatistics, name: str) -> Expression:
        """The formula over a value that is not missing."""
        below, above = value < learned.minimum, value > learned.maximum
        scaled = self._scaled(value, learned, name)
        match self.out_of_range:
            case "clip" if isinstance(scaled, Constant):
                return when(below, self.range[0], when(above, self.range[1], scaled))
            case "null":
                return when(below | above, MISSING, scaled)
            case "error":
                known = f"{learned.minimum!r} to {learned.maximum!r}"
                message = f"{name}: a value is outside {known}, the range at fit"
                return Refuse(below | above, message, scaled)
        return scaled

    def unscale(self, value: Expression, learned: NumberStatistics) -> Expression:
        """The inverse formula; a constant column gives its one value."""
        low, high = self.range
        span = learned.maximum - learned.minimum
        if span == 0:
            return Constant(learned.minimum)
        return (value - low) / (high - low) * span + learned.minimum

    def limits(self) -> tuple[float, float] | None:
        """The range, unless `out_of_range` is keep."""
        return None if self.out_of_range == "keep" else self.range

    def describe(self, learned: NumberStatistics) -> str:
        """The range at fit and the scaled range."""
        low, high = self.range
        return f"{learned.minimum:g} to {learned.maximum:g} scaled to {low:g} to {high:g}"

    def _scaled(self, value: Expression, learned: NumberStatistics, name: str) -> Expression:
        low, high = self.range
        span = learned.maximum - learned.minimum
        if span == 0:
            ends = {"low": low, "middle": low / 2 + high / 2, "high": high, "null": None}
            return Constant(ends[self.constant])
        if not math.isfinite(span):
            raise InputError(
                f"Feature {name}: {learned.minimum!r} to {learned.maximum!r} is wider than a "
                "double can hold. Clip the column first, or take its logarithm."
            )
        scaled = (value - learned.minimum) / span
        if self.range != (0.0, 1.0):
            scaled = scaled * (high - low) + low
        # Unless `keep`, the result is clipped again: rounding may exceed the limits.
        return scaled if self.out_of_range == "keep" else clip(scaled, low, high)


class LinearScaler(NumericEncoder):
    """`(x - center) / width`; a column with a single value at fit has width 1."""

    def center(self, learned: NumberStatistics) -> float:  # noqa: ARG002
        """The number that is subtracted."""
        return 0.0

    def width(self, learned: NumberStatistics) -> float:
        """The divisor; zero counts as 1."""
        raise NotImplementedError

    def scale(self, value: Expression, learned: NumberStatistics, name: str) -> Expression:  # noqa: ARG002
        """The formula over a value that is not missing."""
        return (value - self.center(learned)) / (self.width(learned) or 1.0)

    def unscale(self, value: Expression, learned: NumberStatistics) -> Expression:
        """The inverse formula."""
        return value * (self.width(learned) or 1.0) + self.center(learned)

    def describe(self, learned: NumberStatistics) -> str:
        """The formula with its numbers."""
        return f"(x - {self.center(learned):g}) / {self.width(learned) or 1.0:g}"


def center_and_width(learned: NumberStatistics) -> tuple[float, float]:
    """Mean and standard deviation; exact for a column with a single value."""
    if learned.minimum == learned.maximum:
        return learned.minimum, 1.0
    return learned.known("mean"), learned.known("std") or 1.0


class ZScore(LinearScaler):
    """`(x - mean) / std`, with the standard deviation of the population (divisor n)."""

    kind: Literal["z_score"] = "z_score"

    def needs(self) -> set[str]:
        """Mean and standard deviation."""
        return super().needs() | {"mean", "std"}

    def center(self, learned: NumberStatistics) -> float:
        """The mean."""
        return center_and_width(learned)[0]

    def width(self, learned: NumberStatistics) -> float:
        """The standard deviation."""
        return center_and_width(learned)[1]


class MaxAbs(LinearScaler):
    """`x / max|x|`: zero stays zero, and all values at fit lie between -1 and 1."""

    kind: Literal["max_abs"] = "max_abs"

    def width(self, learned: NumberStatistics) -> float:
        """The largest absolute value."""
        return max(abs(learned.minimum), abs(learned.maximum))


class Robust(LinearScaler):
    """`(x - median) / (upper - lower)` with approximate quantiles, which outliers do not change."""

    kind: Literal["robust"] = "robust"
    lower: float = Field(0.25, ge=0, lt=0.5)
    """The fraction of the rows below the lower quantile."""
    upper: float = Field(0.75, gt=0.5, le=1)
    """The fraction of the rows below the upper quantile."""

    def quantiles(self) -> tuple[float, ...]:
        """The lower quantile, the median, the upper quantile."""
        return (self.lower, 0.5, self.upper)

    def center(self, learned: NumberStatistics) -> float:
        """The median."""
        return learned.quantile(0.5)

    def width(self, learned: NumberStatistics) -> float:
        """The distance between the two quantiles."""
        return learned.quantile(self.upper) - learned.quantile(self.lower)
