"""The base class of numeric encoders: options, statistics, and the methods of a scaler."""

import re
from typing import ClassVar, Literal

from pydantic import field_validator

from matchlake.errors import InputError
from matchlake.features.encoder import Encoder
from matchlake.features.requests import NumberRequest
from matchlake.formulas.tree import Expression
from matchlake.params import Params


class NumberStatistics(Params):
    """The statistics of one numeric column at fit.

    All statistics except the counts use only finite values. A statistic that the feature does not
    need is null.
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
    std: float | None = None
    """The standard deviation of the population, divisor n."""
    log_mean: float | None = None
    """The mean of the logarithms of the positive values."""
    log_std: float | None = None
    """The standard deviation of the logarithms of the positive values, divisor n."""
    mode: float | None = None
    """The most frequent value; of equally frequent ones the smallest."""
    quantiles: tuple[tuple[float, float], ...] = ()
    """Approximate quantiles as (fraction, value). Each value is in the column. Its rank differs
    from the exact rank by at most 1/10000 of the rows."""

    @field_validator("minimum", "maximum", "mode")
    @classmethod
    def _without_negative_zero(cls, value: float | None) -> float | None:
        """Engines order -0.0 and 0.0 as they come; as bounds they are the same."""
        return None if value is None else value + 0.0

    def quantile(self, fraction: float) -> float:
        """The quantile of `fraction`, which the request must name."""
        return dict(self.quantiles)[fraction]

    def known(self, name: Literal["mean", "std", "log_mean", "log_std"]) -> float:
        """A statistic that the request named; raises InputError if the fit did not learn it."""
        value = getattr(self, name)
        if value is None:
            raise InputError(f"The statistic {name} was not learned: fit the feature set again.")
        return float(value)


class NumericEncoder(Encoder):
    """The options and methods of every numeric encoder.

    A missing value is null or NaN. Statistics use only present values, so imputed values do not
    change them.
    """

    handle_null: Literal["keep", "error", "mean", "median", "mode"] | float = "keep"
    """The rule for a missing value: it stays missing (`keep`), or is an error, or becomes the
    column's mean, approximate median or most frequent value, or this number. An imputed value is
    then scaled like any other value."""
    add_indicator: bool = False
    """Add the column `NAME_null`: 1 where the value was missing, else 0."""

    form: ClassVar[str] = "number"
    takes: ClassVar[str] = "a number or a boolean"
    type_pattern: ClassVar[re.Pattern[str]] = re.compile(
        r"tinyint|smallint|int|bigint|float|double|decimal.*|boolean"
    )
    makes_missing: ClassVar[bool] = False
    """Whether `prepare` can turn a present value into a missing one."""
    output_type: ClassVar[Literal["DOUBLE", "INT"]] = "DOUBLE"

    def needs(self) -> set[str]:
        """The names of the statistics that the formula needs besides minimum and maximum."""
        return {str(self.handle_null)} & {"mean", "mode"}

    def quantiles(self) -> tuple[float, ...]:
        """The quantiles, as fractions of the rows, that the formula needs."""
        return (0.5,) if self.handle_null == "median" else ()

    def request(self, column: str, known: tuple[str, ...]) -> NumberRequest:  # noqa: ARG002
        """The statistics that `needs` and `quantiles` name."""
        return NumberRequest(column, tuple(sorted(self.needs())), self.quantiles())

    def fixed_names(self, name: str) -> tuple[str, ...]:
        """The names of the outputs: the feature's name and, if chosen, the indicator's name."""
        return (name, f"{name}_null") if self.add_indicator else (name,)

    def imputed(self, learned: NumberStatistics) -> float | None:
        """The value that replaces missing values; None if they are kept or are errors."""
        match self.handle_null:
            case "keep" | "error":
                return None
            case "median":
                return learned.quantile(0.5)
            case "mean":
                # Rounding can move a mean out of the range: that of 0.1, 0.1 and 0.1 exceeds 0.1.
                return min(max(learned.known("mean"), learned.minimum), learned.maximum)
            case "mode":
                return learned.mode
        return self.handle_null

    def prepare(self, value: Expression, learned: NumberStatistics) -> Expression:  # noqa: ARG002
        """A first step on the imputed value, for a term that `scale` uses more than once."""
        return value

    def scale(self, value: Expression, learned: NumberStatistics, name: str) -> Expression:
        """The formula over a prepared value that is not missing; `name` is for messages."""
        raise NotImplementedError

    def unscale(self, value: Expression, learned: NumberStatistics) -> Expression | None:
        """The inverse formula over a scaled value that is not missing; None if there is none."""
        raise NotImplementedError

    def limits(self) -> tuple[float, float] | None:
        """The bounds of every scaled value, for any input; None without bounds."""
        return None

    def describe(self, learned: NumberStatistics) -> str:
        """The formula in words, for a column's comment."""
        raise NotImplementedError
