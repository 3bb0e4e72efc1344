"""Metrics of scores and recommendations: read frames or tables, return a frame of metrics.

Each metric is one row with `metric`, `k`, `value`, `n_samples` and `n_skipped`. `k` is null for
metrics without a list. `n_samples` counts the averaged users or ratings, `n_skipped` the users or
ratings that could not be measured. Results of several functions can be combined by union. `value`
is null if `n_samples` is 0.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matchlake.recommender.metrics.calibration import (
        calibration_by_width as calibration_by_width,
    )
    from matchlake.recommender.metrics.dispatch import calibration_metrics as calibration_metrics
    from matchlake.recommender.metrics.dispatch import catalogue_metrics as catalogue_metrics
    from matchlake.recommender.metrics.dispatch import item_catalogue as item_catalogue
    from matchlake.recommender.metrics.dispatch import ranking_metrics as ranking_metrics
    from matchlake.recommender.metrics.dispatch import rating_metrics as rating_metrics
    from matchlake.recommender.metrics.dispatch import related_metrics as related_metrics
    from matchlake.recommender.metrics.params import RankingParams as RankingParams
    from matchlake.recommender.metrics.ranking import (
        ranking_metrics_by_user as ranking_metrics_by_user,
    )
    from matchlake.recommender.metrics.rating import (
        rating_metrics_by_user as rating_metrics_by_user,
    )
    from matchlake.recommender.metrics.related import related_gains as related_gains

_MODULES = {
    "calibration": ("calibration_by_width",),
    "dispatch": (
        *("calibration_metrics", "catalogue_metrics", "item_catalogue"),
        *("ranking_metrics", "rating_metrics", "related_metrics"),
    ),
    "params": ("RankingParams",),
    "ranking": ("ranking_metrics_by_user",),
    "rating": ("rating_metrics_by_user",),
    "related": ("related_gains",),
}
_HOMES = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    """Imports a name at its first use, so that parameters do not need Spark."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
