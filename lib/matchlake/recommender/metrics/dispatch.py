"""The public metrics: lazy on Spark frames, immediate on pandas, Polars and Arrow tables."""

from typing import TYPE_CHECKING, Any, overload

from matchlake.engine.frames import ArrowStream, Rows, is_spark, require_spark
from matchlake.recommender.metrics.params import RankingParams
from matchlake.recommender.metrics.table_catalogue import catalogue_figures, catalogue_table
from matchlake.recommender.metrics.table_ranking import ranking_table
from matchlake.recommender.metrics.table_ratings import calibration_table, rating_table
from matchlake.recommender.metrics.table_related import related_table

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

# A function imports its Spark code at its first use there: tables need no Spark.
# ruff: noqa: PLC0415


@overload
def ranking_metrics(
    recommendations: "DataFrame", truth: "DataFrame", params: RankingParams | None = None
) -> "DataFrame": ...


@overload
def ranking_metrics(
    recommendations: ArrowStream, truth: ArrowStream, params: RankingParams | None = None
) -> Any: ...


def ranking_metrics(recommendations: Any, truth: Any, params: RankingParams | None = None) -> Any:
    """Precision, recall, MAP, MRR, hit rate and NDCG, as means over the users of the truth.

    Reads `user_id`, `item_id` and `rank` or else `score` of the recommendations, and `user_id`,
    `item_id` and, for graded gains or a threshold, `gain_column` of the truth. Returns `metric`,
    `k`, `value`, `n_samples` (the users averaged) and `n_skipped` (users of the truth without a
    relevant item, for whom the metric has no value). h(i) is 1 if position i of the list has a
    relevant item; R is the number of relevant items; all sums run to k:

    - `precision`: sum h / k, however short the list; `recall`: sum h / R; `hit_rate`: any h
    - `map`: sum over hits of (precision at that rank) / min(R, k)
    - `mrr`: 1 / rank of the first hit, 0 without one
    - `ndcg`: sum gain(i) / log2(i + 1) over the same sum for the best order of all true items
    """
    if is_spark(recommendations):
        from matchlake.recommender.metrics import ranking

        require_spark(truth, "truth")
        return ranking.ranking_metrics(recommendations, truth, params)
    return ranking_table(recommendations, truth, params or RankingParams())


@overload
def rating_metrics(scored: "DataFrame", *, per_user: bool = False) -> "DataFrame": ...


@overload
def rating_metrics(scored: ArrowStream, *, per_user: bool = False) -> Any: ...


def rating_metrics(scored: Any, *, per_user: bool = False) -> Any:
    """RMSE and MAE over all ratings or, with `per_user`, the mean over users.

    Reads `rating` and `score` (and `user_id`). Rows with a null in `rating` or `score` are not
    measured and count in `n_skipped`; with `per_user`, users with only such rows count. A NaN score
    makes the metrics NaN; in pandas NaN is null. Returns two rows `rmse` and `mae`; `n_samples`
    counts the averaged ratings, or users.
    """
    if is_spark(scored):
        from matchlake.recommender.metrics import rating

        return rating.rating_metrics(scored, per_user=per_user)
    return rating_table(scored, per_user=per_user)


@overload
def calibration_metrics(scored: "DataFrame") -> "DataFrame": ...


@overload
def calibration_metrics(scored: ArrowStream) -> Any: ...


def calibration_metrics(scored: Any) -> Any:
    """Metrics of the predictive distribution N(score, rating_std^2).

    - `interval_coverage_90`: fraction of ratings in the 90 % interval.
    - `interval_coverage_90_min`, `interval_coverage_90_max`: the fraction in the worst tenths of
      the ratings by width.
    - `log_likelihood`: mean log density of the ratings.
    - `log_likelihood_constant`: the log likelihood with the best constant width around the same
    scores. A useful `rating_std` gives a larger `log_likelihood`.
    """
    if is_spark(scored):
        from matchlake.recommender.metrics import calibration

        return calibration.calibration_metrics(scored)
    return calibration_table(scored)


@overload
def item_catalogue(
    train: "DataFrame", vectors: "DataFrame | None" = None, *, vector: str = "factors"
) -> "DataFrame": ...


@overload
def item_catalogue(
    train: Rows, vectors: ArrowStream | None = None, *, vector: str = "factors"
) -> Any: ...


def item_catalogue(train: Any, vectors: Any = None, *, vector: str = "factors") -> Any:
    """Returns the items of the training part, for `catalogue_metrics`.

    Reads `user_id` and `item_id` of `train`. Of `vectors` (such as a model's item factors, one row
    per item) it reads `item_id` and `vector`, an array of numbers. Returns `item_id`, `popularity`
    (the fraction of users with the item) and, with vectors, `vector`, null if an item has none.
    """
    if is_spark(train):
        from matchlake.recommender.metrics import catalogue

        require_spark(vectors, "vectors")
        return catalogue.item_catalogue(train, vectors, vector=vector)
    return catalogue_table(train, vectors, vector)


@overload
def catalogue_metrics(
    recommendations: "DataFrame", catalogue: "DataFrame", params: RankingParams | None = None
) -> "DataFrame": ...


@overload
def catalogue_metrics(
    recommendations: ArrowStream, catalogue: ArrowStream, params: RankingParams | None = None
) -> Any: ...


def catalogue_metrics(
    recommendations: Any, catalogue: Any, params: RankingParams | None = None
) -> Any:
    """Coverage, novelty and, if the catalogue has a `vector`, diversity at every k.

    Reads recommendations as `ranking_metrics` does, and a catalogue as `item_catalogue` makes it.

    - `coverage`: fraction of the catalogue's items in any user's list; `n_samples` is the number
      of items in the catalogue
    - `novelty`: -log2(popularity), averaged over a list's items, then over users (Zhou et al.
      2010): an item that one user in 1,024 has has 10 bits
    - `diversity`: 1 - cosine, averaged over a list's pairs of items, then over users (Ziegler et
      al. 2005); a zero vector has cosine 0 with all others

    Items that are not in the catalogue (for diversity: without a vector) are ignored. A user
    without items (for diversity: with fewer than two) counts in `n_skipped`. Returns `metric`, `k`,
    `value`, `n_samples`, `n_skipped`.
    """
    if is_spark(recommendations):
        from matchlake.recommender.metrics import catalogue as frames

        require_spark(catalogue, "catalogue")
        return frames.catalogue_metrics(recommendations, catalogue, params)
    return catalogue_figures(recommendations, catalogue, params or RankingParams())


@overload
def related_metrics(
    lists: "DataFrame", truth: "DataFrame", key: str, k: int = 5, common: int = 2
) -> "DataFrame": ...


@overload
def related_metrics(
    lists: ArrowStream, truth: ArrowStream, key: str, k: int = 5, common: int = 2
) -> Any: ...


def related_metrics(lists: Any, truth: Any, key: str, k: int = 5, common: int = 2) -> Any:
    """Returns NDCG at `k` of related users (`key` `user_id`) or items, by L1 and by L2 gains.

    Reads `key`, `rank` and `related_<key>` of `lists`. The gains of a list are discounted by
    log2(rank + 1), and divided by the gains of the best list of this length. A related user or item
    that is not comparable has gain 0. Users or items of `truth` without a list, or without
    comparable ids, count in `n_skipped`. Returns `metric` (such as `related_items_ndcg_l1`), `k`,
    `value`, `n_samples` and `n_skipped`.
    """
    if is_spark(lists):
        from matchlake.recommender.metrics import related

        require_spark(truth, "truth")
        return related.related_metrics(lists, truth, key, k, common)
    return related_table(lists, truth, key, k, common)
