"""The base of all parameters of algorithms."""

from matchlake.params import Params


class FitParams(Params):
    """Parameters of a fit; the properties describe the future model."""

    @property
    def predicts_ratings(self) -> bool:
        """Returns whether scores are ratings; otherwise they only order items."""
        return False

    @property
    def predicts_uncertainty(self) -> bool:
        """Whether scores have a standard deviation."""
        return False

    @property
    def reads_features(self) -> bool:
        """Whether the fit reads features of users and items."""
        return False

    @property
    def measures_validation(self) -> bool:
        """Whether the fit can report a metric on a validation part while it runs."""
        return False
