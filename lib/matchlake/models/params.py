"""What can be chosen about training and recommending; config composes it, so it imports little."""

from typing import Self

from pydantic import Field, model_validator

from matchlake.params import Params
from matchlake.recommender.metrics import RankingParams
from matchlake.recommender.params import AlsParams
from matchlake.recommender.split import SplitParams

LOWER_IS_BETTER = ("rmse", "mae")
"""Metrics of predicted ratings, which only explicit fits have."""

_RANKING = ("ndcg", "map", "mrr", "precision", "recall", "hit_rate")


class TrainParams(Params):
    """What the job train_recommender learns, how it measures it, and what makes a champion."""

    als: AlsParams = AlsParams()
    """The fit."""
    strength: str = "1.0"
    """SQL expression over the columns of silver.interactions: what an interaction weighs in an
    implicit fit, such as `rating * rating`, or `exp(-datediff(current_date(), event_time) / 365)`
    to let old ones fade."""
    split: SplitParams = SplitParams(kind="time")
    """How interactions are cut; the kinds of time keep the future out of training."""
    ranking: RankingParams = RankingParams(ks=(5, 10, 20))
    """How ranked lists are measured."""
    metric: str = "ndcg_at_10"
    """Decides between champion and challenger: a ranking metric with `_at_` and one of
    `ranking.ks`; for explicit fits also rmse or mae."""
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

    @model_validator(mode="after")
    def _metric_is_measured(self) -> Self:
        measured = [f"{name}_at_{k}" for name in _RANKING for k in self.ranking.ks]
        if self.als.feedback == "explicit":
            measured += LOWER_IS_BETTER
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
