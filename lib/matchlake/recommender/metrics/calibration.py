"""Calibration: compares predicted standard deviations with the errors."""

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from matchlake.recommender.columns import require_columns
from matchlake.recommender.metrics.normal import DEVIATION, HALF_LOG_2_PI, HALF_WIDTH
from matchlake.recommender.metrics.shape import figure, unpivoted
from matchlake.schemas import RATING, SCORE

_TENTHS = [n / 10 for n in range(1, 10)]
_ACCURACY = 10_000
_ERROR, _INSIDE = "_error", "_inside"


def calibration_by_width(scored: DataFrame) -> DataFrame:
    """`tenth` (1 to 10, by `rating_std`), `rating_std` (its mean), `inside`, `n_rows`; lazy.

    Reads `rating`, `score` and `rating_std`. `inside` is the fraction of the ratings in the central
    90 % interval of N(score, rating_std^2). Rows with a null in any of these columns are excluded.
    """
    rows = _complete_rows(scored)
    edges = rows.agg(F.percentile_approx(DEVIATION, _TENTHS, _ACCURACY).alias("_edges"))
    above = F.filter("_edges", lambda edge: F.col(DEVIATION) > edge)
    placed = rows.crossJoin(F.broadcast(edges)).withColumn("tenth", F.size(above) + 1)
    return placed.groupBy("tenth").agg(
        F.avg(DEVIATION).alias(DEVIATION),
        F.avg(_INSIDE).alias("inside"),
        F.count("*").alias("n_rows"),
    )


def calibration_metrics(scored: DataFrame) -> DataFrame:
    """Implements `dispatch.calibration_metrics` on a Spark frame; lazy."""
    rows = _complete_rows(scored)
    error, deviation = F.col(_ERROR), F.col(DEVIATION)
    whole = F.lit(HALF_LOG_2_PI)
    density = -whole - F.log(deviation) - (error / deviation) ** 2 / 2
    constant = -whole - F.log(F.sqrt(F.avg(error * error))) - 0.5
    known, every = F.count(_ERROR), F.count("*")
    figures = unpivoted(
        rows,
        [
            figure("interval_coverage_90", F.avg(_INSIDE), known, every),
            figure("log_likelihood", F.avg(density), known, every),
            figure("log_likelihood_constant", constant, known, every),
        ],
    )
    total = F.sum("n_rows")
    worst = unpivoted(
        calibration_by_width(scored),
        [
            figure("interval_coverage_90_min", F.min("inside"), total, total),
            figure("interval_coverage_90_max", F.max("inside"), total, total),
        ],
    )
    return figures.unionByName(worst)


def _complete_rows(scored: DataFrame) -> DataFrame:
    require_columns(scored, (RATING, SCORE, DEVIATION), "scored")
    rows = scored.select(
        (F.col(SCORE) - F.col(RATING)).cast("double").alias(_ERROR),
        F.col(DEVIATION).cast("double").alias(DEVIATION),
    ).dropna()
    inside = F.abs(_ERROR) <= F.lit(HALF_WIDTH) * F.col(DEVIATION)
    return rows.withColumn(_INSIDE, inside.cast("double"))
