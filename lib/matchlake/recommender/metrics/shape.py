"""The columns of every metric: metric, k, value, n_samples and n_skipped."""

from collections.abc import Sequence

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F


def figure(metric: str, value: Column, n: Column, of: Column, k: int | None = None) -> Column:
    """Returns one row of a metric; `of` is the number of cases, `n` of measured cases."""
    return F.struct(
        F.lit(metric).alias("metric"),
        F.lit(k).cast("int").alias("k"),
        value.cast("double").alias("value"),
        n.cast("bigint").alias("n_samples"),
        (of - n).cast("bigint").alias("n_skipped"),
    )


def unpivoted(frame: DataFrame, figures: Sequence[Column]) -> DataFrame:
    """Returns one row per aggregate of `figures`, each over the whole frame, in one pass."""
    return frame.agg(F.array(*figures).alias("figures")).select(F.inline("figures"))
