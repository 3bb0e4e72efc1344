"""The popularity baseline: everyone gets what most users met."""

from dataclasses import dataclass
from typing import ClassVar

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from matchlake.params import Params
from matchlake.recommender.baselines.one_order import first_unseen, with_cold
from matchlake.recommender.checkpoint import Cut, keep_locally
from matchlake.recommender.columns import require_columns
from matchlake.schemas import ITEM_ID, SCORE, USER_ID


class PopularityParams(Params):
    """How popularity is counted."""

    value_column: str | None = None
    """Column to sum, such as a strength that fades with time; None counts the users."""


@dataclass(frozen=True)
class PopularityModel:
    """Items with their popularity as `score`; `users` are the known ones, who all get the same.

    Orders items and does not rate: a score is a count of users (or a sum of strengths), so it
    has no place in rating metrics.
    """

    users: DataFrame
    items: DataFrame
    params: PopularityParams
    predicts_ratings: ClassVar[bool] = False

    def score(self, pairs: DataFrame) -> DataFrame:
        """Adds `score`, the item's popularity (double), and `cold`: the item is unknown, with 0."""
        require_columns(pairs, (USER_ID, ITEM_ID), "pairs")
        joined = pairs.join(self.items.select(ITEM_ID, SCORE), ITEM_ID, "left")
        return joined.select(
            *pairs.columns,
            F.coalesce(SCORE, F.lit(0.0)).alias(SCORE),
            F.col(SCORE).isNull().alias("cold"),
        )

    def recommend_items(
        self,
        users: DataFrame | None,
        k: int,
        *,
        exclude_seen: DataFrame | None = None,
        candidates: DataFrame | None = None,
    ) -> DataFrame:
        """The most popular items of each user: `user_id`, `rank`, `item_id`, `score`, `cold`; lazy.

        Reads `user_id` of `users` (all known ones when None; unknown ones, which `cold` tells, are
        served alike), `user_id` and `item_id` of `exclude_seen`, and `item_id`, with `user_id`
        where each user has candidates of their own, of `candidates`. Equal scores go by item id.
        """
        wanted = self.users if users is None else users
        lists = first_unseen(
            self.items, wanted, k, exclude_seen=exclude_seen, candidates=candidates
        )
        return with_cold(lists, self.users)


def fit_popularity(
    interactions: DataFrame, params: PopularityParams | None = None, *, cut: Cut = keep_locally
) -> PopularityModel:
    """Counts for each `item_id` of `interactions` the distinct `user_id`, or sums a column.

    Rows where one of these is null do not count. Starts what `cut` starts, for items and for
    users.
    """
    params = params or PopularityParams()
    value = params.value_column
    needed = (USER_ID, ITEM_ID) if value is None else (USER_ID, ITEM_ID, value)
    require_columns(interactions, needed, "interactions")
    counted = interactions.dropna(subset=list(needed))
    score = F.count_distinct(USER_ID) if value is None else F.sum(value)
    items = counted.groupBy(ITEM_ID).agg(score.cast("double").alias(SCORE))
    return PopularityModel(
        users=cut(interactions.select(USER_ID).dropna().distinct()), items=cut(items), params=params
    )
