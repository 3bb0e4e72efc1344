"""The popularity baseline: everyone gets the items with the most users."""

from dataclasses import dataclass
from typing import ClassVar

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from matchlake.recommender.baselines.params import POPULARITY, PopularityParams
from matchlake.recommender.baselines.rank_zero import RankZeroModel
from matchlake.recommender.checkpoint import Checkpointer, local_checkpoint
from matchlake.recommender.columns import require_columns
from matchlake.recommender.ids import number_rows
from matchlake.recommender.protocol import ModelParts
from matchlake.schemas import ITEM_ID, USER_ID


@dataclass(frozen=True, repr=False)
class PopularityModel(RankZeroModel):
    """Items with their popularity as `bias`, which is their score for every user.

    The model orders items and does not predict ratings. A score is a number of users, or a sum of
    values.
    """

    algorithm: ClassVar[str] = "popularity"


def fit_popularity(
    interactions: DataFrame,
    params: PopularityParams = POPULARITY,
    *,
    checkpoint: Checkpointer = local_checkpoint,
) -> PopularityModel:
    """Implements `dispatch.fit_popularity` on a Spark frame."""
    value = params.value_column
    columns = (USER_ID, ITEM_ID) if value is None else (USER_ID, ITEM_ID, value)
    require_columns(interactions, columns, "interactions")
    counted = interactions.dropna(subset=list(columns))
    users_met = F.count_distinct(USER_ID)
    score = users_met if value is None else F.sum(value)
    rows = counted.groupBy(ITEM_ID).agg(
        score.cast("double").alias("bias"), users_met.alias("n_interactions")
    )
    items, item_count = number_rows(rows, ITEM_ID, checkpoint)
    known = interactions.where(F.col(USER_ID).isNotNull()).groupBy(USER_ID)
    rows = known.agg(F.lit(0.0).alias("bias"), F.count_distinct(ITEM_ID).alias("n_interactions"))
    users, user_count = number_rows(rows, USER_ID, checkpoint)
    return PopularityModel(
        users.withColumnRenamed("idx", "user_idx"),
        items.withColumnRenamed("idx", "item_idx"),
        0.0,
        params,
        (user_count, item_count),
    )


def load(parts: ModelParts[DataFrame]) -> PopularityModel:
    """The model of saved parts, as frames."""
    return PopularityModel(
        parts.users, parts.items, parts.values["mean"], parts.params, parts.sizes
    )
