"""Parameters of the selection of features; reading them starts no Spark."""

from typing import Literal, Self

from pydantic import Field, model_validator

from matchlake.params import Params

Method = Literal[
    "pearson",
    "spearman",
    "f_regression",
    "anova",
    "fisher",
    "chi_square",
    "mutual_information",
    "count",
]
P_VALUES = frozenset(
    ("pearson", "spearman", "f_regression", "anova", "chi_square", "mutual_information")
)
"""The methods with p-values."""


class SelectParams(Params):
    """How features are scored against the label, and which ones are kept."""

    method: Method = "anova"
    """`pearson`, `spearman`: correlation with a numeric label. `f_regression`: F statistic of a
    linear regression. `anova`: F statistic of the groups. `fisher`: variance between the groups
    divided by the variance within. `chi_square`, `mutual_information`: computed from the table of
    values and classes. `count`: number of rows with a value."""
    top: int | None = Field(None, ge=1)
    """The maximum number of features to keep; null: no limit."""
    max_p_value: float | None = Field(None, gt=0, lt=1)
    """Keep features whose p-value, after the correction, is at most this; null: all."""
    correction: Literal["none", "bonferroni", "benjamini_hochberg"] = "benjamini_hochberg"
    """How p-values are corrected for the number of features."""
    min_score: float | None = None
    """Keep features with at least this score; for correlations, the absolute value is compared."""
    max_correlation: float | None = Field(None, gt=0, lt=1)
    """If the absolute correlation of two numeric features is larger, only the better feature is
    kept; null: no limit."""
    bins: int | None = Field(10, ge=2, le=100)
    """The number of quantile bins of numbers, for `chi_square` and `mutual_information`; null: each
    distinct number is a category."""
    max_categories: int = Field(10_000, ge=2, le=100_000)
    """A feature with more categories is kept without a score."""

    @model_validator(mode="after")
    def _has_p_values(self) -> Self:
        if self.max_p_value is not None and self.method not in P_VALUES:
            raise ValueError(
                f"{self.method} has no p-values: use top or min_score in place of max_p_value"
            )
        return self
