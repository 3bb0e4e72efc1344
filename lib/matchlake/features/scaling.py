"""Numeric features: what is chosen, and the formula that joins it with what is learned."""

from typing import Literal, Self

from pydantic import model_validator

from matchlake.features.expressions import MISSING, Constant, Expression, Refuse, clip, when
from matchlake.params import Params


class NumberStatistics(Params):
    """What one pass learns of a numeric column; minimum and so on are over its finite values."""

    rows: int
    """Rows with a finite value."""
    missing: int
    """Rows with null or NaN."""
    infinite: int
    """Rows with an infinity; they are out of any range."""
    minimum: float
    maximum: float


class NumberFeature(Params):
    """What every numeric feature can choose."""

    column: str | None = None
    """The numeric column it reads; by default the one with the feature's own name."""
    nulls: Literal["keep", "error"] | float = "keep"
    """What a missing value (null or NaN) becomes: missing still, an error, or this number, which
    is then scaled as any other."""
    flag_nulls: bool = False
    """Add the column `NAME_null`: 1 where the value was missing, else 0."""


class MinMax(NumberFeature):
    """Scales the range found at fit to `range`: `low + (x - min) / (max - min) * (high - low)`."""

    kind: Literal["min_max"] = "min_max"
    range: tuple[float, float] = (0.0, 1.0)
    """Where the smallest and the largest value at fit go."""
    constant: Literal["low", "middle", "high", "null"] = "low"
    """What a column with a single value at fit becomes: an end of the range, its middle, null."""
    out_of_range: Literal["clip", "keep", "null", "error"] = "clip"
    """What a value beyond those at fit becomes: the end of the range, a value beyond it, null, or
    an error. A constant column has no slope to keep: there `keep` gives what `constant` says."""

    @model_validator(mode="after")
    def _check_range(self) -> Self:
        low, high = self.range
        if not low < high:
            raise ValueError(f"range goes from {low} to {high}: the first must be less")
        return self

    def scale(self, value: Expression, learned: NumberStatistics, name: str) -> Expression:
        """The formula over a value that is not missing."""
        below, above = value < learned.minimum, value > learned.maximum
        scaled = self._scaled(value, learned)
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

    def describe(self, learned: NumberStatistics) -> str:
        """The scaling in words, for a column's comment."""
        low, high = self.range
        return f"{learned.minimum:g} to {learned.maximum:g} scaled to {low:g} to {high:g}"

    def _scaled(self, value: Expression, learned: NumberStatistics) -> Expression:
        low, high = self.range
        span = learned.maximum - learned.minimum
        if span == 0:
            ends = {"low": low, "middle": low / 2 + high / 2, "high": high, "null": None}
            return Constant(ends[self.constant])
        scaled = (value - learned.minimum) / span
        if self.range != (0.0, 1.0):
            scaled = scaled * (high - low) + low
        # Without `keep`, rounding too must not lead beyond the ends of the range.
        return scaled if self.out_of_range == "keep" else clip(scaled, low, high)
