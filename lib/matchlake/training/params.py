"""What can be chosen about training and recommending; config composes it, so it imports little."""

from typing import Literal, Self

from pydantic import Field, model_validator

from matchlake.features.feature_set import FeatureName, FeatureSet
from matchlake.features.kinds import Feature
from matchlake.params import Params
from matchlake.recommender.als.params import AlsParams
from matchlake.recommender.matchbox.params import MatchboxParams
from matchlake.recommender.metrics import RankingParams
from matchlake.recommender.split import SplitParams
from matchlake.schemas import TableName

LOWER_IS_BETTER = ("rmse", "mae")
"""Metrics of predicted ratings, which an implicit fit does not have."""

_RANKING = ("ndcg", "map", "mrr", "precision", "recall", "hit_rate")
_CALIBRATION = ("log_density", "inside_90")

AnswerTable = Literal[
    "recommendations", "related_items", "related_users", "predicted_ratings", "feature_weights"
]
"""What the job recommend can write, each to gold."""


class SideFeatures(Params):
    """What describes the users, or the items, of a Matchbox fit."""

    source: TableName
    """The table, one row an id."""
    features: dict[FeatureName, Feature] = Field(min_length=1)
    """Features by name, as a feature set of conf declares them."""

    def feature_set(self, name: str) -> FeatureSet:
        """The features as a set."""
        return FeatureSet(name=name, features=self.features)


class DescribedBy(Params):
    """The features of each side; null: none."""

    users: SideFeatures | None = None
    items: SideFeatures | None = None


class ModesParams(Params):
    """How the modes beside rating prediction and recommendation from all items are measured.

    Each answers from the test part alone: a user's own test items ranked (`rated_ndcg_at_K`, gain
    linear in the rating), users and items related by those that they share there
    (`related_users_ndcg_l1_at_K` and the like).
    """

    k: int = Field(5, ge=1)
    """Length of a list."""
    common: int = Field(2, ge=1)
    """Ratings that two related users or items share at least."""
    smallest_pool: int = Field(2, ge=1)
    """A list takes this many candidates at least."""

    def names(self) -> list[str]:
        """The metrics measured."""
        related = [f"related_{side}_ndcg_{norm}" for side in ("users", "items") for norm in _NORMS]
        return [f"{name}_at_{self.k}" for name in ("rated_ndcg", *related)]


_NORMS = ("l1", "l2")


class TrainParams(Params):
    """What the job train_recommender learns, how it measures it, and what makes a champion."""

    algorithm: Literal["als", "matchbox"] = "als"
    """Factors by alternating least squares, or Bayesian ones with side features: the latter
    predicts ratings, knows how sure it is, and answers for users and items without ratings."""
    als: AlsParams = AlsParams()
    """The fit of `als`."""
    matchbox: MatchboxParams = MatchboxParams()
    """The fit of `matchbox`."""
    features: DescribedBy = DescribedBy()
    """What `matchbox` knows of users and items; encoded by the fit and saved with the model."""
    strength: str = "1.0"
    """SQL expression over the columns of silver.interactions: what an interaction weighs in an
    implicit fit, such as `rating * rating`, or `exp(-datediff(current_date(), event_time) / 365)`
    to let old ones fade."""
    split: SplitParams = SplitParams(kind="time")
    """How interactions are cut; the kinds of time keep the future out of training."""
    ranking: RankingParams = RankingParams(ks=(5, 10, 20))
    """How ranked lists are measured."""
    modes: ModesParams | None = None
    """Measure the other modes too; null: only ratings and recommendations from all items."""
    metric: str = "ndcg_at_10"
    """Decides between champion and challenger: a ranking metric with `_at_` and one of
    `ranking.ks`; where ratings are predicted also rmse or mae, for matchbox log_density or
    inside_90 (the nearer to 0.9 the better); with `modes` theirs."""
    refit: bool = True
    """Register a model fitted again on all interactions, the test part included, once the
    evaluation is done. Otherwise the evaluated model itself, which lacks the latest ones."""

    resume: bool = False
    """Continue the run that failed on the same table version and parameters from its last
    checkpoint, where there is one. Otherwise what it left is removed."""

    @model_validator(mode="after")
    def _stops_by_iterations(self) -> Self:
        if self.als.patience is not None:
            raise ValueError(
                "als.patience needs a part that is held out of the fit, which this job does not "
                "cut: leave it at null and choose als.iterations"
            )
        return self

    @property
    def predicts_ratings(self) -> bool:
        """Whether a score is a rating."""
        return self.algorithm == "matchbox" or self.als.feedback == "explicit"

    @model_validator(mode="after")
    def _metric_is_measured(self) -> Self:
        measured = [f"{name}_at_{k}" for name in _RANKING for k in self.ranking.ks]
        if self.predicts_ratings:
            measured += LOWER_IS_BETTER
        if self.algorithm == "matchbox":
            measured += _CALIBRATION
        if self.modes is not None:
            measured += self.modes.names()
        if self.metric not in measured:
            raise ValueError(
                f"metric {self.metric!r} is not measured by this run; measured are "
                f"{', '.join(measured)}"
            )
        return self


class RecommendParams(Params):
    """What the job recommend writes."""

    k: int = Field(20, ge=1)
    """Items a user."""
    tables: tuple[AnswerTable, ...] | None = None
    """Those to write; null: all that the champion can answer."""
    related: int = Field(5, ge=1)
    """Related items an item, related users a user."""
    smallest_pool: int = Field(2, ge=1)
    """An item or user with fewer candidates has no related ones."""
    pairs: TableName | None = None
    """Table or view of `user_id` and `item_id` whose ratings to predict; null: the model's own
    best items of each user that it knows, those without ratings too."""
    stars: tuple[float, float] | None = (1.0, 5.0)
    """Predicted ratings are kept within; null: as they come."""
