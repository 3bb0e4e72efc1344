"""Metrics of the catalogue: coverage, novelty, diversity."""

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from matchlake.recommender.columns import require_columns
from matchlake.recommender.metrics.diversity import VECTOR, diversity
from matchlake.recommender.metrics.lists import ITEMS, recommended_lists
from matchlake.recommender.metrics.params import RankingParams
from matchlake.recommender.metrics.shape import figure, unpivoted
from matchlake.schemas import ITEM_ID, USER_ID

POPULARITY = "popularity"

_PLACE = "_place"


def item_catalogue(
    train: DataFrame, vectors: DataFrame | None = None, *, vector: str = "factors"
) -> DataFrame:
    """Implements `dispatch.item_catalogue` on Spark frames; lazy."""
    require_columns(train, (USER_ID, ITEM_ID), "train")
    pairs = train.select(USER_ID, ITEM_ID).distinct()
    users = pairs.agg(F.count_distinct(USER_ID).alias("_users"))
    counts = pairs.groupBy(ITEM_ID).agg(F.count("*").alias("_count"))
    popularity = (F.col("_count") / F.col("_users")).alias(POPULARITY)
    items = counts.crossJoin(F.broadcast(users)).select(ITEM_ID, popularity)
    if vectors is None:
        return items
    require_columns(vectors, (ITEM_ID, vector), "vectors")
    return items.join(vectors.select(ITEM_ID, F.col(vector).alias(VECTOR)), ITEM_ID, "left")


def catalogue_metrics(
    recommendations: DataFrame, catalogue: DataFrame, params: RankingParams | None = None
) -> DataFrame:
    """Implements `dispatch.catalogue_metrics` on Spark frames, in one lazy plan."""
    params = params or RankingParams()
    require_columns(catalogue, (ITEM_ID, POPULARITY), "catalogue")
    lists = recommended_lists(recommendations, max(params.ks))
    placed = lists.select(USER_ID, F.posexplode(ITEMS).alias(_PLACE, ITEM_ID))
    figures = _coverage(placed, catalogue, params.ks).unionByName(
        _novelty(placed, catalogue, params.ks)
    )
    if VECTOR in catalogue.columns:
        figures = figures.unionByName(diversity(lists, catalogue, params.ks))
    return figures


def _coverage(placed: DataFrame, catalogue: DataFrame, ks: tuple[int, ...]) -> DataFrame:
    best = placed.groupBy(ITEM_ID).agg(F.min(_PLACE).alias(_PLACE))
    items = catalogue.select(ITEM_ID).join(best, ITEM_ID, "left")
    size = F.count("*")
    shown = [F.count_if(F.col(_PLACE) < k) for k in ks]
    figures = [
        figure("coverage", F.try_divide(count, size), size, size, k)
        for k, count in zip(ks, shown, strict=True)
    ]
    return unpivoted(items, figures)


def _novelty(placed: DataFrame, catalogue: DataFrame, ks: tuple[int, ...]) -> DataFrame:
    known = placed.join(catalogue.select(ITEM_ID, POPULARITY), ITEM_ID, "left")
    bits = -F.log2(F.col(POPULARITY))
    columns = {k: f"novelty_{k}" for k in ks}
    users = known.groupBy(USER_ID).agg(
        *[F.avg(F.when(F.col(_PLACE) < k, bits)).alias(name) for k, name in columns.items()]
    )
    figures = [
        figure("novelty", F.avg(name), F.count(name), F.count("*"), k)
        for k, name in columns.items()
    ]
    return unpivoted(users, figures)
