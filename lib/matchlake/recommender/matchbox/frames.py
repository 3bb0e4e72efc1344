"""The immutable data of a Matchbox model: frames of rows, and small arrays."""

from dataclasses import dataclass

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from matchlake.recommender.matchbox.encoders import FittedEncoders
from matchlake.recommender.matchbox.params import MatchboxParams
from matchlake.recommender.matchbox.report import PosteriorReport
from matchlake.recommender.related import trained
from matchlake.recommender.sides import INDICES, USER


@dataclass(frozen=True, repr=False)
class MatchboxFrames:
    """A fitted posterior as lazy frames, with the small parts as arrays.

    `user_factors` has these columns; `item_factors` the same without `response`:

    - `user_id`, `user_idx`
    - `factors`: factors of all samples side by side, divided by the root of the number of samples
    - `biases`: one per sample
    - `low_rank`: fewer columns with nearly the same dot products
    - `n_interactions`: ratings that trained the row; 0 for a prior mean of features
    - `response`: the user's precision in every sample, or gaps between thresholds

    `days` has `user_id`, `day` (days since 1970), `factors` and `biases`.
    """

    user_factors: DataFrame
    item_factors: DataFrame
    days: DataFrame | None
    report: PosteriorReport
    params: MatchboxParams
    encoders: FittedEncoders

    @property
    def mean(self) -> float:
        """The mean of the ratings, which is added to every score; 0 for rating levels."""
        return self.report.mean

    @property
    def rating_levels(self) -> list[float] | None:
        """The possible ratings, ascending; None for ratings that are numbers."""
        levels = self.report.rating_levels
        return None if levels is None else [float(level) for level in levels]

    def side(self, side: int) -> DataFrame:
        """The rows of users or items."""
        return self.user_factors if side == USER else self.item_factors

    def trained_side(self, side: int) -> DataFrame:
        """The rows of a side that the fit drew, without rows that were folded in later."""
        drawn = F.col(INDICES[side]) < F.lit(self.report.sizes[side])
        return trained(self.side(side)).where(drawn)
