"""The scoring modes of Azure ML's Matchbox, for any model of this package.

| Azure ML's name | here |
|---|---|
| Rating Prediction | `model.score` |
| Item Recommendation, From All Items | `model.recommend_items` |
| Item Recommendation, From Rated Items (for model evaluation) | `recommend_rated_items` |
| Related Users / Items, From All | `model.related_users`, `model.related_items` |
| Related Users / Items, From Users That Rated Items / From Rated Items | the same with `rated` |
| Maximum number of items to recommend to a user | `k` (5) |
| Minimum size of the recommendation pool for a single user | `min_candidates` (2) |
| Maximum number of related users (items) to find | `k` (5) |
| Minimum number of items that the query user and the related user must have rated in common | \
`pools.min_co_ratings` (2) |
| Minimum size of the related user pool for a single user | `pools.min_candidates` (2) |
"""

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from matchlake.recommender.protocol import RankedLists, Recommender
from matchlake.recommender.related import POOL, distinct_pairs, pool_sizes
from matchlake.schemas import USER_ID


def recommend_rated_items(
    model: Recommender, rated: DataFrame, k: int = 5, *, min_candidates: int = 2
) -> RankedLists:
    """Ranks, for each user of `rated` (`user_id`, `item_id`), the items of that user there.

    Returns at most `k` rows per user: `user_id`, `rank`, `item_id`, `score`, `is_cold_start`. Users
    with fewer than `min_candidates` items are skipped. Lazy. It serves to measure a model against a
    test part.
    """
    pairs = distinct_pairs(rated)
    sizes = pool_sizes(pairs, USER_ID)
    users = sizes.where(F.col(POOL) >= min_candidates).select(USER_ID)
    candidates = pairs.join(users, USER_ID, "semi")
    lists = model.recommend_items(users, k, candidates=candidates)
    return RankedLists(lists, sizes.where(F.col(POOL) < min_candidates))
