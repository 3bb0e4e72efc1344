"""Metrics of related users and items, from the ratings that two users or items share."""

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from matchlake.recommender.columns import require_columns
from matchlake.recommender.metrics.shape import figure, unpivoted
from matchlake.schemas import ITEM_ID, RANK, RATING, USER_ID

_NORMS = ("l1", "l2")


def related_gains(truth: DataFrame, key: str, common: int = 2) -> DataFrame:
    """`query`, `target`, `gain_l1`, `gain_l2` for every pair of comparable ids of `key`.

    Reads `user_id`, `item_id` and `rating`. Two users are compared on the items that both rated.
    Two items are compared on the users who rated both. A pair needs at least `common` common
    ratings. With d the difference of two ratings, gain_l1 = 1 / (1 + mean |d|), and gain_l2 = 1 /
    (1 + sqrt(mean d^2)). The plan joins all ratings of an item (or user) with each other, so use it
    only for a test part.
    """
    require_columns(truth, (USER_ID, ITEM_ID, RATING), "truth")
    other = ITEM_ID if key == USER_ID else USER_ID
    once = truth.groupBy(key, other).agg(F.avg(RATING).alias(RATING))
    left = once.select(F.col(key).alias("query"), other, F.col(RATING).alias("_a"))
    right = once.select(F.col(key).alias("target"), other, F.col(RATING).alias("_b"))
    both = left.join(right, other).where(F.col("query") != F.col("target"))
    away = F.col("_a") - F.col("_b")
    gains = both.groupBy("query", "target").agg(
        F.count("*").alias("_common"),
        (1 / (1 + F.avg(F.abs(away)))).alias("gain_l1"),
        (1 / (1 + F.sqrt(F.avg(away * away)))).alias("gain_l2"),
    )
    return gains.where(F.col("_common") >= common).drop("_common")


def related_metrics(
    lists: DataFrame, truth: DataFrame, key: str, k: int = 5, common: int = 2
) -> DataFrame:
    """Implements `dispatch.related_metrics` on Spark frames; lazy."""
    related = f"related_{key}"
    require_columns(lists, (key, RANK, related), "the related lists")
    gains = related_gains(truth, key, common)
    short = lists.where(F.col(RANK) <= k).select(
        F.col(key).alias("query"), F.col(related).alias("target"), RANK
    )
    by_query = short.join(gains, ["query", "target"], "left").groupBy("query")
    discount = F.log2(F.col(RANK) + 1)
    gained = by_query.agg(
        F.count("*").alias("_length"),
        *[F.sum(F.coalesce(f"gain_{n}", F.lit(0.0)) / discount).alias(f"_{n}") for n in _NORMS],
    )
    best = gains.groupBy("query").agg(
        *[F.sort_array(F.collect_list(f"gain_{n}"), asc=False).alias(f"_best_{n}") for n in _NORMS]
    )
    everyone = truth.select(F.col(key).alias("query")).distinct()
    joined = everyone.join(gained, "query", "left").join(best, "query", "left")
    plural = key.removesuffix("_id") + "s"
    figures = []
    for norm in _NORMS:
        value = F.col(f"_{norm}") / _discounted(F.slice(f"_best_{norm}", 1, F.col("_length")))
        name = f"related_{plural}_ndcg_{norm}"
        figures.append(figure(name, F.avg(value), F.count(value), F.count("*"), k))
    return unpivoted(joined, figures)


def _discounted(gains: Column) -> Column:
    parts = F.transform(gains, lambda gain, index: gain / F.log2(index + 2))
    return F.aggregate(parts, F.lit(0.0), lambda total, part: total + part)
