"""Judges scores and recommendations: DataFrames in, one lazy DataFrame of figures out.

Every figure comes as a row `metric`, `k` (null where there is none), `value`, `n` (how many were
averaged) and `skipped` (how many could not be judged), so that results of several functions
union. `value` is null where `n` is 0.
"""

from matchlake.recommender.metrics.calibration import calibration_by_width, calibration_metrics
from matchlake.recommender.metrics.catalogue import catalogue_metrics, item_catalogue
from matchlake.recommender.metrics.params import RankingParams
from matchlake.recommender.metrics.ranking import ranking_metrics, ranking_metrics_by_user
from matchlake.recommender.metrics.rating import rating_metrics, rating_metrics_by_user
from matchlake.recommender.metrics.related import related_gains, related_metrics

__all__ = [
    "RankingParams",
    "calibration_by_width",
    "calibration_metrics",
    "catalogue_metrics",
    "item_catalogue",
    "ranking_metrics",
    "ranking_metrics_by_user",
    "rating_metrics",
    "rating_metrics_by_user",
    "related_gains",
    "related_metrics",
]
