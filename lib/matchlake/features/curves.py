"""Scalers that bend: logistic, hyperbolic tangent, and the log-normal distribution."""

import math
from typing import ClassVar, Literal

from matchlake.features.normal import normal_cdf
from matchlake.features.scalers import centre_and_width
from matchlake.features.scaling import NumberFeature, NumberStatistics
from matchlake.formulas.tree import MISSING, Constant, Expression, clip, exp, log, tanh, when


class CurveFeature(NumberFeature):
    """A bounded curve over the value, or over its z-score."""

    standardize: bool = False
    """Bend `(x - mean) / deviation` in place of x itself."""

    def needs(self) -> set[str]:
        """Mean and deviation, where the value is standardized."""
        return super().needs() | ({"mean", "deviation"} if self.standardize else set())

    def prepare(self, value: Expression, learned: NumberStatistics) -> Expression:
        """The value or its z-score."""
        centre, width = self._line(learned)
        return (value - centre) / width if self.standardize else value

    def _restore(self, value: Expression, learned: NumberStatistics) -> Expression:
        centre, width = self._line(learned)
        return value * width + centre if self.standardize else value

    def _line(self, learned: NumberStatistics) -> tuple[float, float]:
        return centre_and_width(learned) if self.standardize else (0.0, 1.0)

    def _subject(self, learned: NumberStatistics) -> str:
        centre, width = self._line(learned)
        return f"(x - {centre:g}) / {width:g}" if self.standardize else "x"


class Sigmoid(CurveFeature):
    """The logistic function, `1 / (1 + exp(-x))`: between 0 and 1."""

    kind: Literal["sigmoid"] = "sigmoid"

    def scale(self, value: Expression, learned: NumberStatistics, name: str) -> Expression:  # noqa: ARG002
        """The formula; each sign in the form that does not lose small values."""
        one = Constant(1.0)
        below = exp(value) / (exp(value) + 1.0)
        return when(value < 0.0, below, one / (exp(-value) + 1.0))

    def unscale(self, value: Expression, learned: NumberStatistics) -> Expression:
        """`log(y / (1 - y))`; missing at 0 and 1, which stand for many values."""
        inside = when(value >= 1.0, MISSING, when(value <= 0.0, MISSING, value))
        return self._restore(log(inside) - log(Constant(1.0) - inside), learned)

    def limits(self) -> tuple[float, float]:
        """0 and 1."""
        return 0.0, 1.0

    def describe(self, learned: NumberStatistics) -> str:
        """The formula with its numbers."""
        return f"logistic of {self._subject(learned)}"


class Tanh(CurveFeature):
    """The hyperbolic tangent: between -1 and 1."""

    kind: Literal["tanh"] = "tanh"

    def scale(self, value: Expression, learned: NumberStatistics, name: str) -> Expression:  # noqa: ARG002
        """The formula."""
        return tanh(value)

    def unscale(self, value: Expression, learned: NumberStatistics) -> Expression:
        """`(log(1 + y) - log(1 - y)) / 2`; missing at -1 and 1, which stand for many values."""
        inside = when(value >= 1.0, MISSING, when(value <= -1.0, MISSING, value))
        return self._restore((log(inside + 1.0) - log(Constant(1.0) - inside)) * 0.5, learned)

    def limits(self) -> tuple[float, float]:
        """-1 and 1."""
        return -1.0, 1.0

    def describe(self, learned: NumberStatistics) -> str:
        """The formula with its numbers."""
        return f"tanh of {self._subject(learned)}"


class LogNormal(NumberFeature):
    """Scales what is spread log-normally, by mean and deviation of the logarithm.

    A value that is not positive has no logarithm and becomes missing, whatever `nulls` says.
    """

    kind: Literal["log_normal"] = "log_normal"
    output: Literal["z_score", "share"] = "z_score"
    """`(log x - mean) / deviation`, or the share of the fitted distribution below x, 0 to 1."""

    makes_missing: ClassVar[bool] = True

    def needs(self) -> set[str]:
        """Mean and deviation of the logarithm."""
        return super().needs() | {"log_mean", "log_deviation"}

    def prepare(self, value: Expression, learned: NumberStatistics) -> Expression:
        """The z-score of the logarithm, in the units that the distribution's function takes."""
        centre, width = self._line(learned)
        score = (log(value) - centre) / width
        if self.output == "share":
            score = clip((log(value) - centre) / (width * math.sqrt(2)), -30.0, 30.0)
        return when(value > 0.0, score, MISSING)

    def scale(self, value: Expression, learned: NumberStatistics, name: str) -> Expression:  # noqa: ARG002
        """The z-score, or the distribution's function of it."""
        return normal_cdf(value) if self.output == "share" else value

    def unscale(self, value: Expression, learned: NumberStatistics) -> Expression | None:
        """`exp(y * deviation + mean)`; a share has no way back."""
        centre, width = self._line(learned)
        return None if self.output == "share" else exp(value * width + centre)

    def describe(self, learned: NumberStatistics) -> str:
        """The formula with its numbers."""
        centre, width = self._line(learned)
        score = f"(log x - {centre:g}) / {width:g}"
        return score if self.output == "z_score" else f"normal share below {score}"

    def _line(self, learned: NumberStatistics) -> tuple[float, float]:
        return learned.known("log_mean"), learned.known("log_deviation") or 1.0
