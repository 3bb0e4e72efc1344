"""The base of all parameters of algorithms."""

from matchlake.params import Params


class FitParams(Params):
    """Parameters of a fit; the properties tell what its models can do, before there is one."""

    @property
    def predicts_ratings(self) -> bool:
        """Whether a score is a rating; otherwise it only orders items."""
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
