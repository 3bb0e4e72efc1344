"""What can be chosen about a training run, and the small steps between its big ones."""

from typing import Self

from pydantic import Field, model_validator
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from matchlake.models.evaluation import LOWER_IS_BETTER
from matchlake.params import Params
from matchlake.recommender.metrics import RankingParams
from matchlake.recommender.params import AlsParams
from matchlake.recommender.split import SplitParams
from matchlake.schemas import STRENGTH

_RANKING = ("ndcg", "map", "mrr", "precision", "recall", "hit_rate")


class TrainParams(Params):
    """What the job train_recommender learns, how it measures it, and what makes a champion."""

    als: AlsParams = AlsParams()
    """The fit; an implicit one takes every interaction with strength 1, however it was rated."""
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


def with_strength(interactions: DataFrame) -> DataFrame:
    """Adds `strength`, what an implicit fit reads: 1 for each interaction."""
    return interactions.withColumn(STRENGTH, F.lit(1.0))
