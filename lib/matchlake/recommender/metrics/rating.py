"""Errors of predicted ratings."""

from collections.abc import Sequence

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from matchlake.recommender.columns import require_columns
from matchlake.recommender.metrics.shape import figure, unpivoted
from matchlake.schemas import RATING, SCORE, USER_ID

_ERROR = "_error"


def rating_metrics(scored: DataFrame, *, per_user: bool = False) -> DataFrame:
    """Implements `dispatch.rating_metrics` on a Spark frame; lazy."""
    if per_user:
        users = rating_metrics_by_user(scored)
        metrics = [
            figure(name, F.avg(name), F.count(name), F.count("*")) for name in ("rmse", "mae")
        ]
        return unpivoted(users, metrics)
    require_columns(scored, (RATING, SCORE), "scored")
    rows = scored.select((F.col(SCORE) - F.col(RATING)).alias(_ERROR))
    metrics = [
        figure(name, value, F.count(_ERROR), F.count("*"))
        for name, value in zip(("rmse", "mae"), _errors(), strict=True)
    ]
    return unpivoted(rows, metrics)


def rating_metrics_by_user(scored: DataFrame) -> DataFrame:
    """`user_id`, `rmse` and `mae` over the user's scored ratings, and their number `n_rows`.

    `rmse` and `mae` are null without a scored rating.
    """
    require_columns(scored, (USER_ID, RATING, SCORE), "scored")
    rmse, mae = _errors()
    rows = scored.select(USER_ID, (F.col(SCORE) - F.col(RATING)).alias(_ERROR))
    return rows.groupBy(USER_ID).agg(
        rmse.alias("rmse"), mae.alias("mae"), F.count(_ERROR).alias("n_rows")
    )


def _errors() -> Sequence[Column]:
    error = F.col(_ERROR).cast("double")
    return F.sqrt(F.avg(error * error)), F.avg(F.abs(error))
