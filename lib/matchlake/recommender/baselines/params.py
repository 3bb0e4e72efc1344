"""Parameters of the baselines."""

from pydantic import Field

from matchlake.recommender.fit_params import FitParams


class PopularityParams(FitParams):
    """How popularity is counted."""

    value_column: str | None = None
    """Column to sum, such as a weight that decays with time; null counts the users."""


class BiasParams(FitParams):
    """How strongly biases are pulled towards the mean."""

    user_regularization: float = Field(5.0, ge=0)
    """Additional ratings at the mean that each user is assumed to have."""
    item_regularization: float = Field(3.0, ge=0)
    """Additional ratings at the mean that each item is assumed to have."""
    iterations: int = Field(2, ge=1)
    """Alternations between items and users; more than two hardly change a rating."""

    @property
    def predicts_ratings(self) -> bool:
        """A score is a rating."""
        return True


class EaseParams(FitParams):
    """Regularization and size limit of EASE, and its extensions EDLAE and RDLAE."""

    regularization: float = Field(250.0, gt=0)
    """Ridge penalty on the weights, in units of squared values: users, without a value column."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """Share of a history that a fit hides on average; penalizes frequent items more (EDLAE)."""
    max_self_weight: float = Field(0.0, ge=0, lt=1)
    """Largest weight of an item for itself: 0 is EASE, more is RDLAE, which favors rare items."""
    max_items: int = Field(10_000, ge=1, le=40_000)
    """Limit of items: the fit takes 24 bytes times their square, 2.4 GB for 10,000."""
    value_column: str | None = None
    """Column with the value of an interaction; null gives each (user, item) the value 1."""


POPULARITY, BIAS, EASE = PopularityParams(), BiasParams(), EaseParams()
"""The default parameters."""
