"""Drift: the change of each column's distribution between two states of a table."""

from collections.abc import Sequence

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from matchlake.profiling.histogram import bin_width, count_cells

_HALF = 0.5


def drift(
    before: DataFrame, after: DataFrame, bins: int = 20, columns: Sequence[str] | None = None
) -> DataFrame:
    """The change of each column's distribution, from one pass over each frame. Lazy.

    Gives column_name, before_rows, after_rows (values, nulls among them), psi, ks, new_categories
    and gone_categories (arrays, sorted), null_fraction_before, null_fraction_after.

    psi, the population stability index, is `sum (a - b) * ln(a / b)`. The sum is over the bins of
    the histogram, or over the categories, null and not_finite included. b and a are the fractions
    of the rows before and after. The bins cover the range of both frames, and their width is a
    power of two. Every bin counts half a row more than it has, so that empty bins have a logarithm.

    ks, for numbers and times only, is the largest distance of the two cumulative fractions of the
    finite values. It is measured at the cells of `count_cells`.
    """
    sides = [
        count_cells(frame, columns).withColumn("is_after", F.lit(side))
        for side, frame in ((0, before), (1, after))
    ]
    cells = _both(sides[0].unionByName(sides[1]), ["cell", "unit", "category"])
    of_column = Window.partitionBy("column_name", "kind")
    width = bin_width(
        F.max("unit").over(of_column),
        F.min("cell").over(of_column),
        F.max("cell").over(of_column),
        bins,
    )
    cells = cells.withColumns(
        {"distance": _distance(), "bin": F.floor(F.col("cell") / width) * width}
    )
    binned = cells.groupBy("column_name", "kind", "bin", "category").agg(
        F.sum("before").alias("before"),
        F.sum("after").alias("after"),
        F.max("distance").alias("distance"),
    )
    return _summed(binned)


def _both(cells: DataFrame, keys: list[str]) -> DataFrame:
    """The rows before and after, side by side."""
    rows = F.col("rows")
    return cells.groupBy("column_name", "kind", *keys).agg(
        F.sum(F.when(F.col("is_after") == 0, rows).otherwise(0)).alias("before"),
        F.sum(F.when(F.col("is_after") == 1, rows).otherwise(0)).alias("after"),
    )


def _distance() -> Column:
    """The distance of the cumulative fractions at the end of the cell; null for categories."""
    of_column = Window.partitionBy("column_name", "kind")
    running = of_column.orderBy("cell").rangeBetween(Window.unboundedPreceding, 0)

    def fraction(side: str) -> Column:
        return F.sum(side).over(running) / F.nullif(F.sum(side).over(of_column), F.lit(0))

    is_number = F.col("kind").isin("histogram", "timeline")
    return F.when(is_number, F.abs(fraction("after") - fraction("before")))


def _summed(binned: DataFrame) -> DataFrame:
    everything = Window.partitionBy("column_name")
    count = F.count(F.lit(1)).over(everything)

    def fraction(side: str) -> Column:
        return (F.col(side) + _HALF) / (F.sum(side).over(everything) + count * _HALF)

    moved = (fraction("after") - fraction("before")) * F.log(fraction("after") / fraction("before"))
    is_bar, is_null = F.col("kind") == "bar", F.col("kind") == "null"

    def categories(present: str, absent: str) -> Column:
        here = is_bar & (F.col(present) > 0) & (F.col(absent) == 0)
        return F.array_sort(F.collect_list(F.when(here, F.col("category"))))

    def null_fraction(side: str) -> Column:
        return F.sum(F.when(is_null, F.col(side)).otherwise(0)) / F.nullif(F.sum(side), F.lit(0))

    return (
        binned.withColumn("moved", moved)
        .groupBy("column_name")
        .agg(
            F.sum("before").alias("before_rows"),
            F.sum("after").alias("after_rows"),
            F.sum("moved").alias("psi"),
            F.max("distance").alias("ks"),
            categories("after", "before").alias("new_categories"),
            categories("before", "after").alias("gone_categories"),
            null_fraction("before").alias("null_fraction_before"),
            null_fraction("after").alias("null_fraction_after"),
        )
    )
