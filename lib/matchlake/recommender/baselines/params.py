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


POPULARITY, BIAS = PopularityParams(), BiasParams()
"""The default parameters."""
