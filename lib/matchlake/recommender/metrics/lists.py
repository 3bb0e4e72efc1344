"""Groups rows into one list per user: recommended items, best first, and true items."""

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from matchlake.recommender.columns import require_columns
from matchlake.recommender.metrics.params import RankingParams
from matchlake.schemas import ITEM_ID, RANK, SCORE, USER_ID

ITEMS = "_items"
TRUTH = "_truth"

_WORST = float("inf")


def recommended_lists(recommendations: DataFrame, longest: int) -> DataFrame:
    """`user_id`, `_items`: each user's distinct items, best first, at most `longest`.

    Items are ordered by `rank` or, if it is missing, by `score` from high to low, with null and NaN
    last. Ties go to the smaller item id. Gaps in `rank` are closed. Null items are ignored.
    """
    ranked = RANK in recommendations.columns
    needed = (USER_ID, ITEM_ID, RANK if ranked else SCORE)
    require_columns(recommendations, needed, "recommendations")
    key = F.col(RANK) if ranked else _high_first(F.col(SCORE).cast("double"))
    entries = F.sort_array(F.collect_list(F.struct(key.alias("key"), F.col(ITEM_ID).alias("item"))))
    items = F.array_distinct(F.transform(entries, lambda entry: entry["item"]))
    best = F.slice(items, 1, longest).alias(ITEMS)
    return recommendations.where(F.col(ITEM_ID).isNotNull()).groupBy(USER_ID).agg(best)


def true_items(truth: DataFrame, params: RankingParams) -> DataFrame:
    """`user_id`, `_truth`: map from each true item to its `gain` and whether it is `relevant`.

    A repeated item counts once, with its highest value. Null items are ignored.
    """
    needed = (USER_ID, ITEM_ID, params.gain_column) if params.reads_value else (USER_ID, ITEM_ID)
    require_columns(truth, needed, "truth")
    value = _number(params.gain_column) if params.reads_value else F.lit(1.0)
    once = (
        truth.where(F.col(ITEM_ID).isNotNull())
        .groupBy(USER_ID, ITEM_ID)
        .agg(F.max(value).alias("value"))
    )
    labelled = F.struct(
        _gain(params).alias("gain"), _relevant(params.relevant_from).alias("relevant")
    )
    entries = F.collect_list(F.struct(F.col(ITEM_ID), labelled))
    return once.groupBy(USER_ID).agg(F.map_from_entries(entries).alias(TRUTH))


def _number(column: str) -> Column:
    """Replaces NaN, which Spark treats as the greatest number, by null."""
    return F.nanvl(F.col(column).cast("double"), F.lit(None))


def _high_first(score: Column) -> Column:
    last = score.isNull() | F.isnan(score)
    return F.when(last, F.lit(_WORST)).otherwise(-score)


def _relevant(relevant_from: float | None) -> Column:
    if relevant_from is None:
        return F.lit(col=True)
    return F.col("value") >= relevant_from


def _gain(params: RankingParams) -> Column:
    gain = {
        "binary": _relevant(params.relevant_from).cast("double"),
        "linear": F.col("value"),
        "exponential": F.pow(F.lit(2.0), "value") - 1,
    }[params.gain]
    return F.greatest(gain, F.lit(0.0))
