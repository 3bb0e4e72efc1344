"""Nonlinear scalers: logistic, hyperbolic tangent, and the log-normal distribution."""

import math
from typing import ClassVar, Literal

from matchlake.features.normal_cdf import normal_cdf
from matchlake.features.numeric import NumberStatistics, NumericEncoder
from matchlake.features.scalers import center_and_width
from matchlake.formulas.tree import MISSING, Constant, Expression, clip, exp, log, tanh, when


class CurveScaler(NumericEncoder):
    """A bounded curve of the value, or of its z-score."""

    standardize: bool = False
    """Apply the curve to `(x - mean) / std` instead of x."""

    def needs(self) -> set[str]:
        """The needed statistics; standardizing needs mean and standard deviation, too."""
        return super().needs() | ({"mean", "std"} if self.standardize else set())

    def prepare(self, value: Expression, learned: NumberStatistics) -> Expression:
        """The value or its z-score."""
        center, width = self._line(learned)
        return (value - center) / width if self.standardize else value

    def _restore(self, value: Expression, learned: NumberStatistics) -> Expression:
        center, width = self._line(learned)
        return value * width + center if self.standardize else value

    def _line(self, learned: NumberStatistics) -> tuple[float, float]:
        return center_and_width(learned) if self.standardize else (0.0, 1.0)

    def _subject(self, learned: NumberStatistics) -> str:
        center, width = self._line(learned)
        return f"(x - {center:g}) / {width:g}" if self.standardize else "x"


class Sigmoid(CurveScaler):
    """The logistic function, `1 / (1 + exp(-x))`: between 0 and 1."""

    kind: Literal["sigmoid"] = "sigmoid"

    def scale(self, value: Expression, learned: NumberStatistics, name: str) -> Expression:  # noqa: ARG002
        """The formula, in the form that keeps small values exact for each sign."""
        one = Constant(1.0)
        below = exp(value) / (exp(value) + 1.0)
        return when(value < 0.0, below, one / (exp(-value) + 1.0))

    def unscale(self, value: Expression, learned: NumberStatistics) -> Expression:
        """`log(y / (1 - y))`; missing at 0 and 1, which are the images of many values."""
        inside = when(value >= 1.0, MISSING, when(value <= 0.0, MISSING, value))
        return self._restore(log(inside) - log(Constant(1.0) - inside), learned)

    def limits(self) -> tuple[float, float]:
        """The limits 0 and 1."""
        return 0.0, 1.0

    def describe(self, learned: NumberStatistics) -> str:
        """The formula with its numbers."""
        return f"logistic of {self._subject(learned)}"


class Tanh(CurveScaler):
    """The hyperbolic tangent: between -1 and 1."""

    kind: Literal["tanh"] = "tanh"

    def scale(self, value: Expression, learned: NumberStatistics, name: str) -> Expression:  # noqa: ARG002
        """The formula."""
        return tanh(value)

    def unscale(self, value: Expression, learned: NumberStatistics) -> Expression:
        """`(log(1 + y) - log(1 - y)) / 2`; missing at -1 and 1, the images of many values."""
        inside = when(value >= 1.0, MISSING, when(value <= -1.0, MISSING, value))
        return self._restore((log(inside + 1.0) - log(Constant(1.0) - inside)) * 0.5, learned)

    def limits(self) -> tuple[float, float]:
        """-1 and 1."""
        return -1.0, 1.0

    def describe(self, learned: NumberStatistics) -> str:
        """The formula with its numbers."""
        return f"tanh of {self._subject(learned)}"


class LogNormal(NumericEncoder):
    """Scales a log-normally distributed value by mean and standard deviation of its logarithm.

    A value that is not positive has no logarithm: it becomes missing, whatever `handle_null` is.
    """

    kind: Literal["log_normal"] = "log_normal"
    output: Literal["z_score", "cdf"] = "z_score"
    """`(log x - mean) / std`, or the fitted distribution's cumulative probability at x."""

    makes_missing: ClassVar[bool] = True

    def needs(self) -> set[str]:
        """Mean and standard deviation of the logarithm."""
        return super().needs() | {"log_mean", "log_std"}

    def prepare(self, value: Expression, learned: NumberStatistics) -> Expression:
        """The z-score of the logarithm; for `cdf` in the units that `normal_cdf` takes."""
        center, width = self._line(learned)
        score = (log(value) - center) / width
        if self.output == "cdf":
            score = clip((log(value) - center) / (width * math.sqrt(2)), -30.0, 30.0)
        return when(value > 0.0, score, MISSING)

    def scale(self, value: Expression, learned: NumberStatistics, name: str) -> Expression:  # noqa: ARG002
        """The z-score, or the cumulative probability of it."""
        return normal_cdf(value) if self.output == "cdf" else value

    def unscale(self, value: Expression, learned: NumberStatistics) -> Expression | None:
        """`exp(y * std + mean)`; `cdf` has no inverse."""
        center, width = self._line(learned)
        return None if self.output == "cdf" else exp(value * width + center)

    def describe(self, learned: NumberStatistics) -> str:
        """The formula with its numbers."""
        center, width = self._line(learned)
        score = f"(log x - {center:g}) / {width:g}"
        return score if self.output == "z_score" else f"normal distribution function of {score}"

    def _line(self, learned: NumberStatistics) -> tuple[float, float]:
        return learned.known("log_mean"), learned.known("log_std") or 1.0
