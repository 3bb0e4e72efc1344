"""What every numeric feature chooses and learns, and scaling by minimum and maximum."""

import math
from typing import ClassVar, Literal, Self

from pydantic import model_validator

from matchlake.errors import InputError
from matchlake.formulas.tree import MISSING, Constant, Expression, Refuse, clip, when
from matchlake.params import Params


class NumberStatistics(Params):
    """What one pass learns of a numeric column; all but the counts are over its finite values.

    Only what the feature needs is there; the rest is null.
    """

    rows: int
    """Rows with a finite value."""
    missing: int
    """Rows with null or NaN."""
    infinite: int
    """Rows with an infinity."""
    minimum: float
    maximum: float
    mean: float | None = None
    deviation: float | None = None
    """The standard deviation of the population, divisor n."""
    log_mean: float | None = None
    """The mean of the logarithms of the positive values."""
    log_deviation: float | None = None
    """The standard deviation of the logarithms of the positive values, divisor n."""
    mode: float | None = None
    """The most frequent value, the least of several."""
    quantiles: tuple[tuple[float, float], ...] = ()
    """(share, value): approximate quantiles, a value of the column each, with a rank that is
    within 1/10000 of the rows of the asked one."""

    def quantile(self, share: float) -> float:
        """The quantile of that share, which must have been asked for."""
        return dict(self.quantiles)[share]

    def known(self, name: Literal["mean", "deviation", "log_mean", "log_deviation"]) -> float:
        """A statistic that the feature has asked for."""
        value = getattr(self, name)
        if value is None:
            raise InputError(f"The statistic {name} was not learned: fit the feature set again.")
        return float(value)


class NumberFeature(Params):
    """What every numeric feature can choose.

    A missing value is null or NaN. Statistics are those of the values that are there, so that
    filling does not move them.
    """

    column: str | None = None
    """The numeric column it reads; by default the one with the feature's own name."""
    nulls: Literal["keep", "error", "mean", "median", "mode"] | float = "keep"
    """What a missing value becomes: missing still, an error, the column's mean, approximate median
    or most frequent value, or this number; what is filled in is then scaled as any other."""
    flag_nulls: bool = False
    """Add the column `NAME_null`: 1 where the value was missing, else 0."""

    makes_missing: ClassVar[bool] = False
    """Whether `prepare` leaves values missing that were not."""

    def needs(self) -> set[str]:
        """The statistics, by their names, that the formula needs beside minimum and maximum."""
        return {str(self.nulls)} & {"mean", "mode"}

    def shares(self) -> tuple[float, ...]:
        """The quantiles, as shares of the rows, that the formula needs."""
        return (0.5,) if self.nulls == "median" else ()

    def fill(self, learned: NumberStatistics) -> float | None:
        """What stands for a missing value; None where none does."""
        match self.nulls:
            case "keep" | "error":
                return None
            case "median":
                return learned.quantile(0.5)
            case "mean":
                # A sum rounds: the mean of three times 0.1 is more than 0.1.
                return min(max(learned.known("mean"), learned.minimum), learned.maximum)
            case "mode":
                return learned.mode
        return self.nulls

    def prepare(self, value: Expression, learned: NumberStatistics) -> Expression:  # noqa: ARG002
        """A first step over the filled value, for what a formula would have to repeat."""
        return value

    def scale(self, value: Expression, learned: NumberStatistics, name: str) -> Expression:
        """The formula over a prepared value that is not missing; `name` is for messages."""
        raise NotImplementedError

    def unscale(self, value: Expression, learned: NumberStatistics) -> Expression | None:
        """The formula back from a scaled value that is not missing; None where there is none."""
        raise NotImplementedError

    def limits(self) -> tuple[float, float] | None:
        """What no scaled value is below or above, whatever comes in; None where there is none."""
        return None

    def describe(self, learned: NumberStatistics) -> str:
        """The formula in words, for a column's comment."""
        raise NotImplementedError


class Number(NumberFeature):
    """The number itself as a double, its missing values by the policy."""

    kind: Literal["number"] = "number"

    def scale(self, value: Expression, learned: NumberStatistics, name: str) -> Expression:  # noqa: ARG002
        """The value."""
        return value

    def unscale(self, value: Expression, learned: NumberStatistics) -> Expression:  # noqa: ARG002
        """The value."""
        return value

    def describe(self, learned: NumberStatistics) -> str:  # noqa: ARG002
        """Says that nothing is done."""
        return "as it is"


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
        """The formula back; a constant column gives its one value."""
        low, high = self.range
        span = learned.maximum - learned.minimum
        if span == 0:
            return Constant(learned.minimum)
        return (value - low) / (high - low) * span + learned.minimum

    def limits(self) -> tuple[float, float] | None:
        """The range, unless values beyond it are kept."""
        return None if self.out_of_range == "keep" else self.range

    def describe(self, learned: NumberStatistics) -> str:
        """The two ranges."""
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
                "double can hold. Clip the column, or take its logarithm, before."
            )
        scaled = (value - learned.minimum) / span
        if self.range != (0.0, 1.0):
            scaled = scaled * (high - low) + low
        # Without `keep`, rounding too must not lead beyond the ends of the range.
        return scaled if self.out_of_range == "keep" else clip(scaled, low, high)
