"""Measures models side by side: the same test part, the same users, the same lists' lengths."""

import logging
import math
from collections.abc import Mapping
from typing import Protocol

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from matchlake.errors import InputError
from matchlake.recommender.als.model import FactorModel
from matchlake.recommender.azure_modes import (
    Pools,
    recommend_rated_items,
    related_items,
    related_users,
)
from matchlake.recommender.matchbox.model import MatchboxModel
from matchlake.recommender.metrics import (
    RankingParams,
    calibration_metrics,
    ranking_metrics,
    rating_metrics,
    related_metrics,
)
from matchlake.recommender.split import Split
from matchlake.schemas import ITEM_ID, RATING, USER_ID
from matchlake.training.params import LOWER_IS_BETTER, ModesParams

_log = logging.getLogger(__name__)

_NOMINAL = 0.9

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
    models: Mapping[str, Recommender],
    parts: Split,
    ranking: RankingParams,
    modes: ModesParams | None = None,
) -> dict[str, Figures]:
    """The figures of each model: those of its lists, and RMSE and MAE where it predicts ratings.

    Where it says how sure it is, calibration too; with `modes` those of related users and items.
    Every user of the test part is asked for, and gets what he has no row of in training. One
    Spark job collects the few figures of a model (with `modes` one more for each side). Raises
    InputError on an empty test part.
    """
    users = parts.test.select(USER_ID).distinct()
    figures = {}
    for name, model in models.items():
        lists = model.recommend_items(users, max(ranking.ks), exclude_seen=parts.train)
        rows = ranking_metrics(lists, parts.test, ranking).drop("skipped")
        if model.predicts_ratings:
            scored = model.score(parts.test)
            rows = rows.unionByName(rating_metrics(scored).drop("skipped"))
            if "deviation" in scored.columns:
                rows = rows.unionByName(calibration_metrics(scored).drop("skipped"))
        if modes is not None and isinstance(model, FactorModel | MatchboxModel):
            rows = rows.unionByName(_modes(model, parts.test, modes).drop("skipped"))
        figures[name] = _collect(rows)
        _log.info("%-10s %s", name, _told(figures[name]))
    return figures


def _modes(model: FactorModel | MatchboxModel, test: DataFrame, params: ModesParams) -> DataFrame:
    """The figures of what is answered from the test part's own pairs."""
    flat = model.factor_model() if isinstance(model, MatchboxModel) else model
    found = rated_items_metrics(flat, test, params)
    pools = Pools(params.common, params.smallest_pool)
    for relate, key in ((related_users, USER_ID), (related_items, ITEM_ID)):
        lists = relate(flat, None, params.k, rated=test, pools=pools).lists
        found = found.unionByName(related_metrics(lists, test, key, params.k, params.common))
    return found


def rated_items_metrics(flat: FactorModel, test: DataFrame, params: ModesParams) -> DataFrame:
    """`rated_ndcg` of the users of `test` with items enough to rank; who is skipped is not judged.

    Lazy, in the columns of `ranking_metrics`.
    """
    ranked = recommend_rated_items(flat, test, params.k, smallest_pool=params.smallest_pool)
    judge = RankingParams(ks=(params.k,), gain="linear", gain_column=RATING)
    ranked_for = test.join(ranked.skipped, USER_ID, "anti")
    rated = ranking_metrics(ranked.lists, ranked_for, judge).where("metric = 'ndcg'")
    return rated.withColumn("metric", F.lit("rated_ndcg"))


def not_beaten(figures: Mapping[str, Figures], own: str, metric: str) -> list[str]:
    """The other models that `own` does not beat in `metric`, among those that have it.

    Raises InputError where `own` has no value of it.
    """
    mine = value_of(figures[own], metric)
    others = {name: found[metric] for name, found in figures.items() if metric in found}
    return [n for n, value in others.items() if n != own and not is_better(metric, mine, value)]


def value_of(figures: Figures, metric: str) -> float:
    """The value of the metric that decides; raises InputError where the test part gave none."""
    if metric not in figures:
        raise InputError(
            f"train.metric is {metric}, which has no value on this test part: no user or row of it "
            "is what the metric measures (relevant by train.ranking.relevant_from, or with "
            "train.modes.smallest_pool candidates). These have one: "
            f"{', '.join(figures)}. Choose one of them, or give more interactions or another "
            "train.split."
        )
    return figures[metric]


def is_better(metric: str, value: float, other: float) -> bool:
    """Whether `value` is strictly better than `other`."""
    if metric == "inside_90":
        return abs(value - _NOMINAL) < abs(other - _NOMINAL)
    return value < other if metric in LOWER_IS_BETTER else value > other


def _told(figures: Figures) -> str:
    """The figures that most people ask for, on one line."""
    asked = ("rmse", "mae", "inside_90", "ndcg", "recall", "rated", "related")
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
