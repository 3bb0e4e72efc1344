"""The scoring modes of Azure ML's Matchbox, from any `FactorModel`.

| Azure ML's name | here |
|---|---|
| Rating Prediction | `FactorModel.score`, `MatchboxModel.score` |
| Item Recommendation, From All Items | `FactorModel.recommend_items` |
| Item Recommendation, From Rated Items (for model evaluation) | `recommend_rated_items` |
| Related Users / Items, From All | `related_users`, `related_items` |
| Related Users / Items, From Users That Rated Items / From Rated Items | the same with `rated` |
| Maximum number of items to recommend to a user | `k` (5) |
| Minimum size of the recommendation pool for a single user | `smallest_pool` (2) |
| Maximum number of related users (items) to find | `k` (5) |
| Minimum number of items that the query user and the related user must have rated in common | \
`common` (2) |
| Minimum size of the related user pool for a single user | `smallest_pool` (2) |
"""

from typing import NamedTuple

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from matchlake.engine.top_k import require_k
from matchlake.errors import ParameterError
from matchlake.recommender.als.model import FactorModel
from matchlake.recommender.columns import require_columns
from matchlake.recommender.related import Related, trained
from matchlake.schemas import ITEM_ID, RANK, USER_ID

POOL = "pool"
"""The column of how many candidates a skipped entity had."""


class Lists(NamedTuple):
    """Ranked lists, and who was skipped: its id and `pool`, the candidates it had."""

    lists: DataFrame
    skipped: DataFrame


def recommend_rated_items(
    model: FactorModel, rated: DataFrame, k: int = 5, *, smallest_pool: int = 2
) -> Lists:
    """Ranks for each user of `rated` (`user_id`, `item_id`) the items that the user rated there.

    Gives `user_id`, `rank`, `item_id`, `score`, `cold`, at most `k` a user; users with fewer than
    `smallest_pool` items are skipped. Lazy. To measure a model against ratings held out.
    """
    pairs = _pairs(rated)
    pools = _pools(pairs, USER_ID)
    kept = pools.where(F.col(POOL) >= smallest_pool).select(USER_ID)
    pool = pairs.join(kept, USER_ID, "semi")
    lists = model.recommend_items(kept, k, candidates=pool)
    return Lists(lists, pools.where(F.col(POOL) < smallest_pool))


def related_items(
    model: FactorModel,
    items: DataFrame | None = None,
    k: int = 5,
    *,
    rated: DataFrame | None = None,
    pools: "Pools | None" = None,
) -> Lists:
    """The `k` items that a random user is likeliest to rate as each of `items`; None for all.

    Gives `item_id`, `rank`, `related_item_id`, `score` (a log density, the larger the more alike).
    Candidates are all trained items, and the random user is a trained one (`observed` above 0); a
    row known by its features may be asked for. With `rated` (`user_id`, `item_id`) candidates are
    the model's items that at least `pools.common` users rated there together with the item. An item
    with fewer candidates than `pools.smallest` is skipped. Starts one job, over the users' factors.
    """
    return _related(model, (ITEM_ID, USER_ID), items, k, (rated, pools or Pools()))


def related_users(
    model: FactorModel,
    users: DataFrame | None = None,
    k: int = 5,
    *,
    rated: DataFrame | None = None,
    pools: "Pools | None" = None,
) -> Lists:
    """As `related_items`, with users and items exchanged: `user_id`, `related_user_id`."""
    return _related(model, (USER_ID, ITEM_ID), users, k, (rated, pools or Pools()))


class Pools(NamedTuple):
    """When an entity is a candidate, and how many it takes for a list.

    `noise` is the variance of a rating about its score.
    """

    common: int = 2
    smallest: int = 2
    noise: float = 1.0


def wide(lists: DataFrame, key: str, target: str, k: int) -> DataFrame:
    """Lists in Azure ML's form, a row an entity: `User`, `Item 1` to `Item k`, and the like.

    `key` and `target` name the columns of `lists`; a related item's columns are `Related Item n`.
    """
    if k < 1:
        raise ParameterError(f"k is {k}; a wide table needs one column at least.")
    first = "User" if key == USER_ID else "Item"
    named = ("Related " if target.startswith("related") else "") + (
        "Item" if target.endswith(ITEM_ID) else "User"
    )
    places = [
        F.max(F.when(F.col(RANK) == n, F.col(target))).alias(f"{named} {n}")
        for n in range(1, k + 1)
    ]
    return lists.groupBy(F.col(key).alias(first)).agg(*places)


def _pools(pairs: DataFrame, key: str) -> DataFrame:
    return pairs.groupBy(key).agg(F.count("*").alias(POOL))


def _pairs(rated: DataFrame) -> DataFrame:
    require_columns(rated, (USER_ID, ITEM_ID), "the rated pairs")
    return rated.select(USER_ID, ITEM_ID).dropna().distinct()


def _related(
    model: FactorModel,
    keys: tuple[str, str],
    wanted: DataFrame | None,
    k: int,
    choice: tuple[DataFrame | None, Pools],
) -> Lists:
    require_k(k)
    key, other = keys
    rated, pools = choice
    if wanted is not None:
        require_columns(wanted, (key,), "the frame of those to find others for")
    frames = {USER_ID: (model.users, "user_idx"), ITEM_ID: (model.items, "item_idx")}
    mine, index = frames[key]
    targets = trained(mine) if rated is None else mine
    related = Related.of((mine, targets), (key, index), trained(frames[other][0]), pools.noise)
    queries = mine.select(key) if wanted is None else wanted.select(key).distinct()
    queries = queries.join(mine.select(key), key, "semi")
    if rated is None:
        size = targets.agg(F.count("*").alias("_size"))
        own = targets.select(key, F.lit(1).alias("_own"))
        counted = queries.join(own, key, "left").crossJoin(size)
        counted = counted.select(key, (F.col("_size") - F.coalesce("_own", F.lit(0))).alias(POOL))
        kept = counted.where(F.col(POOL) >= pools.smallest)
        lists = related.lists(kept.select(key), k)
        return Lists(lists, counted.where(F.col(POOL) < pools.smallest))
    pairs = _sharing(_pairs(rated), keys, pools.common)
    pairs = pairs.join(mine.select(F.col(key).alias("target")), "target", "semi")
    counts = _pools(pairs, "query")
    counted = queries.join(counts.withColumnRenamed("query", key), key, "left").fillna(0, [POOL])
    kept = counted.where(F.col(POOL) >= pools.smallest).select(key)
    lists = related.lists(kept, k, pairs)
    return Lists(lists, counted.where(F.col(POOL) < pools.smallest))


def _sharing(pairs: DataFrame, keys: tuple[str, str], common: int) -> DataFrame:
    """`query`, `target`: all two of one side that share at least `common` of the other."""
    key, other = keys
    left = pairs.select(F.col(key).alias("query"), other)
    right = pairs.select(F.col(key).alias("target"), other)
    both = left.join(right, other).where(F.col("query") != F.col("target"))
    counts = both.groupBy("query", "target").agg(F.count("*").alias("common"))
    return counts.where(F.col("common") >= common).select("query", "target")
