"""Evaluates models on the same test part, for the same users, with lists of equal length."""

import logging
import math
from collections.abc import Mapping

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from matchlake.errors import InputError
from matchlake.recommender.azure_modes import recommend_rated_items
from matchlake.recommender.metrics import (
    RankingParams,
    calibration_metrics,
    ranking_metrics,
    rating_metrics,
    related_metrics,
)
from matchlake.recommender.protocol import Pools, Recommender
from matchlake.recommender.split import Split
from matchlake.schemas import ITEM_ID, RATING, USER_ID
from matchlake.training.params import LOWER_IS_BETTER, AzureMlModesParams

_log = logging.getLogger(__name__)

_NOMINAL = 0.9

Figures = dict[str, float]
"""The value of each metric: `rmse`, `mae`, `ndcg_at_10`, `recall_at_20`..."""


def evaluate(
    models: Mapping[str, Recommender],
    parts: Split,
    ranking: RankingParams,
    azure_ml_modes: AzureMlModesParams | None = None,
) -> dict[str, Figures]:
    """Returns the metrics of each model: of ranked lists, and of predicted ratings (RMSE, MAE).

    A model that predicts standard deviations also has calibration metrics. `azure_ml_modes` adds
    the metrics of ranked test items and of related users and items. Every user of the test part
    gets a list, without the items of the user's training rows. One Spark job per model collects the
    metrics; `azure_ml_modes` adds one for users and one for items. Raises InputError on an empty
    test part.
    """
    users = parts.test.select(USER_ID).distinct()
    figures = {}
    for name, model in models.items():
        lists = model.recommend_items(users, max(ranking.ks), exclude_seen=parts.train)
        rows = _values(ranking_metrics(lists, parts.test, ranking))
        if model.predicts_ratings:
            scored = model.score(parts.test)
            rows = rows.unionByName(_values(rating_metrics(scored)))
            if "uncertainty" in model.capabilities:
                rows = rows.unionByName(_values(calibration_metrics(scored)))
        if azure_ml_modes is not None and "related" in model.capabilities:
            rows = rows.unionByName(_values(_modes(model, parts.test, azure_ml_modes)))
        figures[name] = _collect(rows)
        _log.info("%-10s %s", name, _summary(figures[name]))
    return figures


def _values(rows: DataFrame) -> DataFrame:
    return rows.select("metric", "k", "value")


def _modes(model: Recommender, test: DataFrame, params: AzureMlModesParams) -> DataFrame:
    """Returns the metrics of `azure_ml_modes`, which need only the pairs of the test part."""
    rows = rated_items_metrics(model, test, params)
    pools = Pools(params.min_co_ratings, params.min_candidates)
    for relate, key in ((model.related_users, USER_ID), (model.related_items, ITEM_ID)):
        lists = relate(None, params.k, rated=test, pools=pools).lists
        rows = rows.unionByName(related_metrics(lists, test, key, params.k, params.min_co_ratings))
    return rows


def rated_items_metrics(
    model: Recommender, test: DataFrame, params: AzureMlModesParams
) -> DataFrame:
    """`rated_ndcg`: the NDCG of each user's own items in `test`.

    Users with too few items are skipped. Lazy, with the columns of `ranking_metrics`.
    """
    ranked = recommend_rated_items(model, test, params.k, min_candidates=params.min_candidates)
    options = RankingParams(ks=(params.k,), gain="linear", gain_column=RATING)
    ranked_for = test.join(ranked.skipped, USER_ID, "anti")
    rated = ranking_metrics(ranked.lists, ranked_for, options).where("metric = 'ndcg'")
    return rated.withColumn("metric", F.lit("rated_ndcg"))


def baselines_not_beaten(figures: Mapping[str, Figures], own: str, metric: str) -> list[str]:
    """Returns the other models whose value of `metric` the model `own` does not beat.

    Raises InputError if `own` has no value of `metric`.
    """
    score = value_of(figures[own], metric)
    others = {name: metrics[metric] for name, metrics in figures.items() if metric in metrics}
    return [n for n, value in others.items() if n != own and not is_better(metric, score, value)]


def value_of(figures: Figures, metric: str) -> float:
    """Returns the value of the deciding metric; raises InputError if it has no value."""
    if metric not in figures:
        raise InputError(
            f"train.metric {metric} has no value on this test part. Either no test row reaches "
            "train.ranking.relevant_from, or no list has train.azure_ml_modes.min_candidates "
            f"candidates. These metrics have a value: {', '.join(figures)}. Choose one of them, "
            "add interactions, or choose another train.split."
        )
    return figures[metric]


def is_better(metric: str, value: float, other: float) -> bool:
    """Returns whether `value` is strictly better than `other`."""
    if metric == "interval_coverage_90":
        return abs(value - _NOMINAL) < abs(other - _NOMINAL)
    return value < other if metric in LOWER_IS_BETTER else value > other


def _summary(figures: Figures) -> str:
    """The main metrics, on one line."""
    main = ("rmse", "mae", "interval_coverage_90", "ndcg", "recall", "rated", "related")
    return "  ".join(f"{name} {v:.4f}" for name, v in figures.items() if name.startswith(main))


def _collect(rows: DataFrame) -> Figures:
    figures = {
        row["metric"] if row["k"] is None else f"{row['metric']}_at_{row['k']}": row["value"]
        for row in sorted(rows.collect(), key=lambda row: (row["metric"], row["k"] or 0))
    }
    usable = {name: v for name, v in figures.items() if v is not None and math.isfinite(v)}
    if not usable:
        raise InputError(
            "The test part gives no metric: it is empty, or no row reaches "
            "train.ranking.relevant_from. Choose more interactions, or another train.split."
        )
    return usable


def flat_figures(figures: Mapping[str, Figures], own: str) -> Figures:
    """Returns all metrics: `metric` for the model `own`, `model/metric` for the others."""
    return {
        metric if name == own else f"{name}/{metric}": value
        for name, metrics in figures.items()
        for metric, value in metrics.items()
    }
