"""What lists do with the catalogue: how much of it they show, how far from the beaten track."""

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from matchlake.recommender.columns import require_columns
from matchlake.recommender.metrics.lists import ITEMS, recommended_lists
from matchlake.recommender.metrics.params import RankingParams
from matchlake.recommender.metrics.shape import figure, unpivoted
from matchlake.schemas import ITEM_ID, USER_ID

POPULARITY = "popularity"
UNIT = "unit"

_PLACE = "_place"


def item_catalogue(
    train: DataFrame, vectors: DataFrame | None = None, *, vector: str = "factors"
) -> DataFrame:
    """The items of the training part, as `catalogue_metrics` reads them.

    Reads `user_id` and `item_id` of `train`, and `item_id` and `vector`, an array of numbers, of
    `vectors` (such as a model's `items`), one row an item. Returns `item_id`, `popularity` (the
    share of users that met the item) and, with vectors, `unit`: the vector at length 1, all zero
    where it is, null where there is none.
    """
    require_columns(train, (USER_ID, ITEM_ID), "train")
    pairs = train.select(USER_ID, ITEM_ID).distinct()
    users = pairs.agg(F.count_distinct(USER_ID).alias("_users"))
    counts = pairs.groupBy(ITEM_ID).agg(F.count("*").alias("_count"))
    popularity = (F.col("_count") / F.col("_users")).alias(POPULARITY)
    items = counts.crossJoin(F.broadcast(users)).select(ITEM_ID, popularity)
    if vectors is None:
        return items
    require_columns(vectors, (ITEM_ID, vector), "vectors")
    units = vectors.select(ITEM_ID, _unit(F.col(vector).cast("array<double>")).alias(UNIT))
    return items.join(units, ITEM_ID, "left")


def catalogue_metrics(
    recommendations: DataFrame, catalogue: DataFrame, params: RankingParams | None = None
) -> DataFrame:
    """Coverage, novelty and, where the catalogue has `unit` vectors, diversity at every k.

    Reads recommendations as `ranking_metrics` does, and a catalogue as `item_catalogue` makes it.

    - `coverage`: share of the catalogue's items that are in any user's list; `n` is the catalogue
    - `novelty`: -log2(popularity), averaged over a list's items, then over users (Zhou et al.
      2010): 10 bits are an item that one user in 1,024 has met
    - `diversity`: 1 - cosine, averaged over a list's pairs of items, then over users (Ziegler et
      al. 2005); a zero vector has cosine 0 with all others

    Items that are not in the catalogue (for diversity: have no vector) are passed over. A user
    left with no item, for diversity fewer than two, counts in `skipped`. Returns `metric`, `k`,
    `value`, `n`, `skipped` in one lazy plan.
    """
    params = params or RankingParams()
    require_columns(catalogue, (ITEM_ID, POPULARITY), "catalogue")
    lists = recommended_lists(recommendations, max(params.ks))
    placed = lists.select(USER_ID, F.posexplode(ITEMS).alias(_PLACE, ITEM_ID))
    return _coverage(placed, catalogue, params.ks).unionByName(
        _list_metrics(placed, catalogue, params.ks)
    )


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


def _list_metrics(placed: DataFrame, catalogue: DataFrame, ks: tuple[int, ...]) -> DataFrame:
    known = placed.join(catalogue, ITEM_ID, "left")
    measures = {"novelty": {k: F.avg(F.when(F.col(_PLACE) < k, _bits())) for k in ks}}
    if UNIT in catalogue.columns:
        entry = F.when(F.col(UNIT).isNotNull(), F.struct(_PLACE, UNIT))
        units = F.sort_array(F.collect_list(entry))
        measures["diversity"] = {k: _diversity(units, k) for k in ks}
    columns = {(name, k): f"{name}_{k}" for name, by_k in measures.items() for k in by_k}
    users = known.groupBy(USER_ID).agg(
        *[measures[name][k].alias(column) for (name, k), column in columns.items()]
    )
    figures = [
        figure(name, F.avg(column), F.count(column), F.count("*"), k)
        for (name, k), column in columns.items()
    ]
    return unpivoted(users, figures)


def _bits() -> Column:
    return -F.log2(F.col(POPULARITY))


def _diversity(units: Column, k: int) -> Column:
    """Mean of 1 - cosine over pairs: |sum|^2 has each pair twice, each item with itself."""
    first = F.transform(F.filter(units, lambda item: item[_PLACE] < k), lambda item: item[UNIT])
    total = F.aggregate(
        first,
        F.array().cast("array<double>"),
        lambda total, unit: F.when(F.size(total) == 0, unit).otherwise(
            F.zip_with(total, unit, lambda a, b: a + b)
        ),
    )
    itself = F.aggregate(first, F.lit(0.0), lambda total, unit: total + _square(unit))
    pairs = F.size(first) * (F.size(first) - 1)
    return F.when(pairs > 0, 1 - (_square(total) - itself) / pairs)


def _square(vector: Column) -> Column:
    return F.aggregate(vector, F.lit(0.0), lambda total, x: total + x * x)


def _unit(vector: Column) -> Column:
    # Inside a lambda the length would be computed anew for every element.
    lengths = F.array_repeat(F.sqrt(_square(vector)), F.size(vector))
    return F.zip_with(
        vector, lengths, lambda x, length: F.coalesce(F.try_divide(x, length), F.lit(0.0))
    )
