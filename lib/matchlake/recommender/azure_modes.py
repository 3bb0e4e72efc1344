"""The scoring modes of Azure ML's Matchbox, for any model of this package.

| Azure ML's name | here |
|---|---|
| Rating Prediction | `model.score` |
| Item Recommendation, From All Items | `model.recommend_items` |
| Item Recommendation, From Rated Items (for model evaluation) | `recommend_rated_items` |
| Related Users / Items, From All | `model.related_users`, `model.related_items` |
| Related Users / Items, From Users That Rated Items / From Rated Items | `related_users`,
`related_items` with `rated` |
| Maximum number of items to recommend to a user | `k` (5) |
| Minimum size of the recommendation pool for a single user | `min_candidates` (2) |
| Maximum number of related users (items) to find | `k` (5) |
| Minimum number of items that the query user and the related user must have rated in common | \
`pools.min_co_ratings` (2) |
| Minimum size of the related user pool for a single user | `pools.min_candidates` (2) |
"""

from typing import TYPE_CHECKING, Any, overload

import pyarrow.compute as pc

from matchlake.engine.frames import Rows, as_given, is_spark
from matchlake.recommender.protocol import NumpyRecommender, RankedLists, Recommender
from matchlake.recommender.sides import KEYS
from matchlake.recommender.tables import read_interactions
from matchlake.schemas import ITEM_ID, USER_ID

if TYPE_CHECKING:
    from pyspark.sql import DataFrame


@overload
def recommend_rated_items(
    model: Recommender, rated: "DataFrame", k: int = 5, *, min_candidates: int = 2
) -> RankedLists: ...


@overload
def recommend_rated_items(
    model: NumpyRecommender, rated: Rows, k: int = 5, *, min_candidates: int = 2
) -> Any: ...


def recommend_rated_items(model: Any, rated: Any, k: int = 5, *, min_candidates: int = 2) -> Any:
    """Ranks, for each user of `rated` (`user_id`, `item_id`), the items of that user in `rated`.

    Returns at most `k` rows per user: `user_id`, `rank`, `item_id`, `score`, `is_cold_start`. Users
    with fewer than `min_candidates` items are skipped. Use it to evaluate a model on a test part.
    It is lazy on Spark. A model in memory takes a table of pandas, Polars or Arrow, or a sparse
    matrix.
    """
    if not is_spark(rated):
        return _of_table(model, rated, k, min_candidates)
    from pyspark.sql import functions as F  # noqa: PLC0415 - tables need no Spark

    from matchlake.recommender.related import POOL, distinct_pairs, pool_sizes  # noqa: PLC0415

    pairs = distinct_pairs(rated)
    sizes = pool_sizes(pairs, USER_ID)
    users = sizes.where(F.col(POOL) >= min_candidates).select(USER_ID)
    candidates = pairs.join(users, USER_ID, "semi")
    lists = model.recommend_items(users, k, candidates=candidates)
    return RankedLists(lists, sizes.where(F.col(POOL) < min_candidates))


def _of_table(model: NumpyRecommender, rated: Any, k: int, min_candidates: int) -> RankedLists:
    pairs = read_interactions(rated, (), "the rated pairs").drop_null()
    pairs = pairs.group_by(list(KEYS)).aggregate([])
    sizes = pairs.group_by(USER_ID).aggregate([(ITEM_ID, "count")])
    sizes = sizes.rename_columns([USER_ID, "pool"])
    enough = pc.greater_equal(sizes["pool"], min_candidates)
    lists = model.recommend_items(sizes.filter(enough), k, candidates=pairs)
    skipped = sizes.filter(pc.invert(enough))
    return RankedLists(as_given(lists, rated), as_given(skipped, rated))
