"""Recommending where all users share one order of the items."""

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from matchlake.recommender.columns import require_columns
from matchlake.schemas import ITEM_ID, RANK, SCORE, USER_ID

_BEST, _SEEN, _PLACE = "_best", "_seen", "_place"


def first_unseen(
    items: DataFrame,
    users: DataFrame,
    k: int,
    *,
    exclude_seen: DataFrame | None,
    candidates: DataFrame | None,
) -> DataFrame:
    """The `k` first items for each of `users` that they have not seen, in the order of the scores.

    Reads `item_id` and `score` of `items`; equal scores go by item id. Returns `user_id`, `rank`,
    `item_id`, `score`. The order is made once and handed to every task; a user then takes as many
    of its items as they have seen, and `k`, so the work is what is seen plus what is returned.
    """
    wanted = users.select(USER_ID).where(F.col(USER_ID).isNotNull()).distinct()
    if candidates is not None and USER_ID in candidates.columns:
        return _first_of_own(items, wanted, k, exclude_seen, candidates)
    pool = items
    if candidates is not None:
        require_columns(candidates, (ITEM_ID,), "candidates")
        pool = items.join(candidates.select(ITEM_ID), ITEM_ID, "semi")
    entries = F.sort_array(F.collect_list(F.struct((-F.col(SCORE)).alias("key"), ITEM_ID)))
    order = pool.agg(F.transform(entries, lambda entry: entry[ITEM_ID]).alias(_BEST))
    lists = _with_seen(wanted, exclude_seen).crossJoin(F.broadcast(order))
    head = F.slice(_BEST, 1, F.size(_SEEN) + k)
    chosen = lists.select(
        USER_ID, F.posexplode(F.slice(F.array_except(head, _SEEN), 1, k)).alias(_PLACE, ITEM_ID)
    )
    scored = chosen.join(items.select(ITEM_ID, SCORE), ITEM_ID)
    return scored.select(USER_ID, (F.col(_PLACE) + 1).alias(RANK), ITEM_ID, SCORE)


def _with_seen(users: DataFrame, seen: DataFrame | None) -> DataFrame:
    nothing = F.array().alias(_SEEN)
    if seen is None:
        return users.select(USER_ID, nothing)
    require_columns(seen, (USER_ID, ITEM_ID), "exclude_seen")
    lists = seen.groupBy(USER_ID).agg(F.collect_set(ITEM_ID).alias(_SEEN))
    return users.join(lists, USER_ID, "left").select(
        USER_ID, F.coalesce(_SEEN, F.array()).alias(_SEEN)
    )


def _first_of_own(
    items: DataFrame, users: DataFrame, k: int, seen: DataFrame | None, candidates: DataFrame
) -> DataFrame:
    require_columns(candidates, (USER_ID, ITEM_ID), "candidates")
    pairs = candidates.select(USER_ID, ITEM_ID).distinct().join(users, USER_ID, "semi")
    if seen is not None:
        require_columns(seen, (USER_ID, ITEM_ID), "exclude_seen")
        pairs = pairs.join(seen.select(USER_ID, ITEM_ID), [USER_ID, ITEM_ID], "anti")
    best_first = Window.partitionBy(USER_ID).orderBy(F.desc(SCORE), ITEM_ID)
    scored = pairs.join(items.select(ITEM_ID, SCORE), ITEM_ID)
    ranked = scored.withColumn(RANK, F.row_number().over(best_first))
    return ranked.where(F.col(RANK) <= k).select(USER_ID, RANK, ITEM_ID, SCORE)


def with_cold(lists: DataFrame, known: DataFrame) -> DataFrame:
    """Adds `cold`: the user is none of the `known` ones."""
    marked = known.select(USER_ID, F.lit(col=False).alias("cold"))
    joined = lists.join(marked, USER_ID, "left")
    return joined.withColumn("cold", F.coalesce("cold", F.lit(col=True)))
