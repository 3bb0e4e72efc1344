"""The recommender split of Infer.NET, known from Azure ML's Split Data module."""

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from matchlake.recommender.columns import require_columns
from matchlake.recommender.split.params import SplitParams
from matchlake.recommender.split.parts import (
    PLACE,
    PLACES,
    draw,
    fraction_of,
    split_where,
    with_places,
)
from matchlake.recommender.split.result import Split
from matchlake.schemas import ITEM_ID, USER_ID

_COLD_ITEM, _USER = "_cold_item", "_user"


def split_recommender(interactions: DataFrame, params: SplitParams) -> Split:
    """Mixes training users, users with ratings in both parts, and cold users and items.

    All rows of a cold item are test rows, those of an ignored item are dropped. The other rows
    depend on the user: rows of cold users are test rows, rows of training users are training rows.
    Rows of ignored users are dropped. Of any other user, the fraction `kept_ratings` of the rows
    (at least one) are training rows; the rest are test rows. Unlike Infer.NET, users and items are
    drawn independently, so a fraction is an expectation and not a count.

    `drop_stray_cold_items` drops test rows of items that have no training row by chance, without
    being drawn as cold. The training part is then computed twice.
    """
    require_columns(interactions, (USER_ID, ITEM_ID), "interactions")
    marked = _mark(interactions, params)
    order = [draw(params.seed, "pair", USER_ID, ITEM_ID), F.col(ITEM_ID)]
    placed = with_places(marked, [USER_ID, _COLD_ITEM], order)
    n_kept = F.greatest(fraction_of(F.col(PLACES), params.kept_ratings), F.lit(1))
    shared_out = (F.col(_USER) == "shared") & (F.col(PLACE) > n_kept)
    in_test = F.col(_COLD_ITEM) | (F.col(_USER) == "cold") | shared_out
    parts = split_where(placed, in_test, [*interactions.columns, _COLD_ITEM])
    test = _without_stray_items(parts) if params.drop_stray_cold_items else parts.test
    return Split(parts.train.drop(_COLD_ITEM), test.drop(_COLD_ITEM))


def _mark(interactions: DataFrame, params: SplitParams) -> DataFrame:
    """Adds `_cold_item` and `_user`: cold, training or shared. It drops ignored rows."""
    item, user = draw(params.seed, "item", ITEM_ID), draw(params.seed, "user", USER_ID)
    cold, training = params.cold_users, params.cold_users + params.training_users
    group = (
        F.when(user < cold, "cold")
        .when(user < training, "training")
        .when(user < training + params.ignored_users, "ignored")
        .otherwise("shared")
    )
    cold_item = item < params.cold_items
    ignored_item = ~cold_item & (item < params.cold_items + params.ignored_items)
    marked = interactions.withColumn(_COLD_ITEM, cold_item).withColumn(_USER, group)
    return marked.where(~ignored_item & (F.col(_COLD_ITEM) | (F.col(_USER) != "ignored")))


def _without_stray_items(parts: Split) -> DataFrame:
    trained = parts.train.select(ITEM_ID).distinct()
    drawn = parts.test.where(_COLD_ITEM)
    return drawn.unionByName(
        parts.test.where(~F.col(_COLD_ITEM))
        .join(trained, ITEM_ID, "semi")
        .select(*parts.test.columns)
    )
