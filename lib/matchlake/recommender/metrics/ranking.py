"""Ranking metrics per user: precision, recall, MAP, MRR, hit rate, NDCG."""

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from matchlake.recommender.metrics.lists import ITEMS, TRUTH, recommended_lists, true_items
from matchlake.recommender.metrics.params import RankingParams
from matchlake.schemas import USER_ID

_HITS = "_hits"
_RELEVANT = "_relevant"
_GAINS = "_gains"


def ranking_metrics(
    recommendations: DataFrame, truth: DataFrame, params: RankingParams | None = None
) -> DataFrame:
    """Averages `ranking_metrics_by_user` over users, in one lazy plan for all metrics and ks.

    Returns `metric`, `k`, `value`, `n_samples` (the users averaged) and `n_skipped` (users of the
    truth without a relevant item, for whom the metric has no value).
    """
    users = ranking_metrics_by_user(recommendations, truth, params)
    n_samples = F.count("value")
    return users.groupBy("metric", "k").agg(
        F.avg("value").alias("value"),
        n_samples.alias("n_samples"),
        (F.count("*") - n_samples).alias("n_skipped"),
    )


def ranking_metrics_by_user(
    recommendations: DataFrame, truth: DataFrame, params: RankingParams | None = None
) -> DataFrame:
    """`user_id`, `metric`, `k`, `value` for every user of the truth.

    Reads `user_id`, `item_id` and `rank` or else `score` of the recommendations, and `user_id`,
    `item_id` and, for graded gains or a threshold, `gain_column` of the truth. h(i) is 1 if
    position i of the list has a relevant item; R is the number of relevant items; all sums run to
    k:

    - `precision`: sum h / k, however short the list; `recall`: sum h / R; `hit_rate`: any h
    - `map`: sum over hits of (precision at that rank) / min(R, k)
    - `mrr`: 1 / rank of the first hit, 0 without one
    - `ndcg`: sum gain(i) / log2(i + 1) over the same sum for the best order of all true items
      (Jarvelin and Kekalainen 2002)

    A user of the truth without recommendations has 0. A user without a relevant item (for graded
    NDCG: without a gain) has null. Users without truth are not measured.
    """
    params = params or RankingParams()
    lists = recommended_lists(recommendations, max(params.ks))
    users = true_items(truth, params).join(lists, USER_ID, "left")
    prepared = users.select(
        USER_ID,
        _hits().alias(_HITS),
        F.size(F.filter(F.map_values(TRUTH), lambda item: item["relevant"])).alias(_RELEVANT),
        F.sort_array(F.transform(F.map_values(TRUTH), lambda item: item["gain"]), asc=False).alias(
            _GAINS
        ),
    )
    figures = F.array(*[figure for k in params.ks for figure in _figures(k)])
    return prepared.select(USER_ID, F.inline(figures))


def _hits() -> Column:
    """Returns the recommended true items, as place, gain and relevant, in the list's order."""
    items, truth = F.coalesce(ITEMS, F.array()), F.col(TRUTH)
    true = F.array_intersect(items, F.map_keys(truth))
    hits = F.transform(
        true,
        lambda item: F.struct(
            F.array_position(items, item).alias("place"),
            truth[item]["gain"].alias("gain"),
            truth[item]["relevant"].alias("relevant"),
        ),
    )
    return F.sort_array(hits)


def _figures(k: int) -> list[Column]:
    """The metrics of one user at one k, as structs of metric, k and value."""
    hits = F.filter(_HITS, lambda hit: hit["relevant"] & (hit["place"] <= k))
    count, relevant = F.size(hits), F.col(_RELEVANT)
    # if the i-th hit is at position p, i of the first p items are relevant
    precisions = F.transform(hits, lambda hit, i: (i + 1) / hit["place"])
    values = {
        "precision": count / F.lit(k),
        "recall": count / relevant,
        "hit_rate": (count > 0).cast("double"),
        "map": _total(precisions) / F.least(relevant, F.lit(k)),
        "mrr": F.coalesce(1 / F.get(hits, 0)["place"], F.lit(0.0)),
    }
    figures = [_figure(metric, k, F.when(relevant > 0, value)) for metric, value in values.items()]
    return [*figures, _figure("ndcg", k, _ndcg(k))]


def _ndcg(k: int) -> Column:
    gained = F.transform(
        F.filter(_HITS, lambda hit: hit["place"] <= k),
        lambda hit: hit["gain"] / F.log2(hit["place"] + 1),
    )
    best = F.transform(F.slice(_GAINS, 1, k), lambda gain, i: gain / F.log2(i + 2))
    return F.when(_total(best) > 0, _total(gained) / _total(best))


def _total(values: Column) -> Column:
    return F.aggregate(values, F.lit(0.0), lambda total, value: total + value)


def _figure(metric: str, k: int, value: Column) -> Column:
    return F.struct(
        F.lit(metric).alias("metric"), F.lit(k).alias("k"), value.cast("double").alias("value")
    )
