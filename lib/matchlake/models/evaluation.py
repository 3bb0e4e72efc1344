"""Measures models side by side: the same test part, the same users, the same lists' lengths."""

import logging
import math
from collections.abc import Mapping
from typing import Protocol

from pyspark.sql import DataFrame

from matchlake.errors import InputError
from matchlake.models.params import LOWER_IS_BETTER
from matchlake.recommender.metrics import RankingParams, ranking_metrics, rating_metrics
from matchlake.recommender.split import Split
from matchlake.schemas import USER_ID

_log = logging.getLogger(__name__)

Figures = dict[str, float]
"""Value by metric: `rmse`, `mae`, `ndcg_at_10`, `recall_at_20`..."""


class Recommender(Protocol):
    """What can be measured."""

    @property
    def predicts_ratings(self) -> bool:
        """Whether a score is a rating, so that it can be compared with one."""

    def score(self, pairs: DataFrame) -> DataFrame:
        """Adds `score` to pairs of `user_id` and `item_id`."""

    def recommend_items(
        self, users: DataFrame | None, k: int, *, exclude_seen: DataFrame | None = None
    ) -> DataFrame:
        """`user_id`, `rank`, `item_id`, `score`."""


def evaluate(
    models: Mapping[str, Recommender], parts: Split, ranking: RankingParams
) -> dict[str, Figures]:
    """The figures of each model: those of its lists, and RMSE and MAE where it predicts ratings.

    Every user of the test part is asked for, and gets what he has no row of in training. One
    Spark job collects the few figures of a model. Raises InputError on an empty test part.
    """
    users = parts.test.select(USER_ID).distinct()
    figures = {}
    for name, model in models.items():
        lists = model.recommend_items(users, max(ranking.ks), exclude_seen=parts.train)
        rows = ranking_metrics(lists, parts.test, ranking).drop("skipped")
        if model.predicts_ratings:
            rows = rows.unionByName(rating_metrics(model.score(parts.test)).drop("skipped"))
        figures[name] = _collect(rows)
        _log.info("%-10s %s", name, _told(figures[name]))
    return figures


def not_beaten(figures: Mapping[str, Figures], own: str, metric: str) -> list[str]:
    """The other models that `own` does not beat in `metric`, among those that have it."""
    mine = figures[own][metric]
    others = {name: found[metric] for name, found in figures.items() if metric in found}
    return [n for n, value in others.items() if n != own and not is_better(metric, mine, value)]


def is_better(metric: str, value: float, other: float) -> bool:
    """Whether `value` is strictly better than `other`."""
    return value < other if metric in LOWER_IS_BETTER else value > other


def _told(figures: Figures) -> str:
    """The figures that most people ask for, on one line."""
    asked = ("rmse", "mae", "ndcg", "recall")
    return "  ".join(f"{name} {v:.4f}" for name, v in figures.items() if name.startswith(asked))


def _collect(rows: DataFrame) -> Figures:
    figures = {
        row["metric"] if row["k"] is None else f"{row['metric']}_at_{row['k']}": row["value"]
        for row in sorted(rows.collect(), key=lambda row: (row["metric"], row["k"] or 0))
    }
    usable = {name: v for name, v in figures.items() if v is not None and math.isfinite(v)}
    if not usable:
        raise InputError(
            "The test part holds nothing to measure with: it is empty, or no row of it reaches "
            "train.ranking.relevant_from. Give more interactions, or another train.split."
        )
    return usable


def flat_figures(figures: Mapping[str, Figures], own: str) -> Figures:
    """All figures in one mapping: those of model `own` as they are, others as `model/metric`."""
    return {
        metric if name == own else f"{name}/{metric}": value
        for name, found in figures.items()
        for metric, value in found.items()
    }
