"""What every numeric encoder can choose, what it learns, and which methods a scaler fills in."""

import re
from typing import ClassVar, Literal

from matchlake.errors import InputError
from matchlake.features.encoder import Encoder
from matchlake.features.requests import NumberRequest
from matchlake.formulas.tree import Expression
from matchlake.params import Params


class NumberStatistics(Params):
    """The statistics of one numeric column at fit.

    All but the counts are over the finite values. A statistic that the feature does not need is
    null.
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
    """(fraction, value): approximate quantiles. Each is a value of the column, and its rank is
    within 1/10000 of the rows of the exact one."""

    def quantile(self, fraction: float) -> float:
        """The quantile of that fraction, which the request must have named."""
        return dict(self.quantiles)[fraction]

    def known(self, name: Literal["mean", "std", "log_mean", "log_std"]) -> float:
        """A statistic that the request named; raises InputError where it was not learned."""
        value = getattr(self, name)
        if value is None:
            raise InputError(f"The statistic {name} was not learned: fit the feature set again.")
        return float(value)


class NumericEncoder(Encoder):
    """The options and methods of every numeric encoder.

    A missing value is null or NaN. Statistics are those of the values that are present, so
    imputed values do not change them.
    """

    handle_null: Literal["keep", "error", "mean", "median", "mode"] | float = "keep"
    """What a missing value becomes: still missing (`keep`), an error, the column's mean,
    approximate median or most frequent value, or this number. An imputed value is then scaled like
    any other."""
    add_indicator: bool = False
    """Add the column `NAME_null`: 1 where the value was missing, else 0."""

    form: ClassVar[str] = "number"
    takes: ClassVar[str] = "a number or a boolean"
    type_pattern: ClassVar[re.Pattern[str]] = re.compile(
        r"tinyint|smallint|int|bigint|float|double|decimal.*|boolean"
    )
    makes_missing: ClassVar[bool] = False
    """Whether `prepare` can make a value missing that was present."""
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
        """The feature's own name and its indicator."""
        return (name, f"{name}_null") if self.add_indicator else (name,)

    def imputed(self, learned: NumberStatistics) -> float | None:
        """The value that replaces a missing one; None where none does."""
        match self.handle_null:
            case "keep" | "error":
                return None
            case "median":
                return learned.quantile(0.5)
            case "mean":
                # A sum rounds: the mean of three times 0.1 is more than 0.1.
                return min(max(learned.known("mean"), learned.minimum), learned.maximum)
            case "mode":
                return learned.mode
        return self.handle_null

    def prepare(self, value: Expression, learned: NumberStatistics) -> Expression:  # noqa: ARG002
        """A first step over the imputed value, for a term that `scale` uses more than once."""
        return value

    def scale(self, value: Expression, learned: NumberStatistics, name: str) -> Expression:
        """The formula over a prepared value that is not missing; `name` is for messages."""
        raise NotImplementedError

    def unscale(self, value: Expression, learned: NumberStatistics) -> Expression | None:
        """The inverse formula over a scaled value that is not missing; None if there is none."""
        raise NotImplementedError

    def limits(self) -> tuple[float, float] | None:
        """Bounds that every scaled value lies within, whatever the input; None without bounds."""
        return None

    def describe(self, learned: NumberStatistics) -> str:
        """The formula in words, for a column's comment."""
        raise NotImplementedError
