"""Parameters of the baselines."""

from pydantic import Field

from matchlake.recommender.fit_params import FitParams


class PopularityParams(FitParams):
    """How popularity is counted."""

    value_column: str | None = None
    """The column to sum, such as a weight that decays with time; null: count the users."""


class BiasParams(FitParams):
    """How strongly biases are pulled towards the mean."""

    user_regularization: float = Field(5.0, ge=0)
    """Regularization: each user counts as having this number of additional mean ratings."""
    item_regularization: float = Field(3.0, ge=0)
    """Regularization: each item counts as having this number of additional mean ratings."""
    iterations: int = Field(2, ge=1)
    """Number of alternations between items and users; more than two change ratings little."""

    @property
    def predicts_ratings(self) -> bool:
        """Returns true: scores are ratings."""
        return True


POPULARITY, BIAS = PopularityParams(), BiasParams()
"""The default parameters."""
