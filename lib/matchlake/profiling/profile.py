"""Column profiles: histograms of numbers, and counts of categories."""

from collections.abc import Sequence

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from matchlake.profiling.histogram import bin_width, count_cells
from matchlake.profiling.params import ProfileParams
from matchlake.schemas import Column, TableSpec

COLUMN_PROFILES = TableSpec(
    "gold.column_profiles",
    "The distribution of every column of the profiled tables, one row per bin or category.",
    (
        Column("table_name", "STRING", "The profiled table", nullable=False),
        Column("version", "BIGINT", "The profiled Delta version", nullable=False),
        Column("column_name", "STRING", "The column", nullable=False),
        Column(
            "kind", "STRING", "histogram, timeline, bar, other, null or not_finite", nullable=False
        ),
        Column(
            "bin_low",
            "DOUBLE",
            "Start of the bin, inclusive; of a timeline in days since 1970-01-01",
        ),
        Column("bin_high", "DOUBLE", "End of the bin, exclusive"),
        Column("category", "STRING", "The category of the row, if its kind is bar"),
        Column("rows", "BIGINT", "Rows of the bin or category", nullable=False),
        Column("fraction", "DOUBLE", "Fraction of all values of the column", nullable=False),
        Column("density", "DOUBLE", "Fraction of the finite values, divided by the bin's width"),
    ),
    user_columns=(),
    written_by="profile_tables",
)

DRIFT = TableSpec(
    "gold.drift",
    "Changes of each column's distribution since the version profiled before.",
    (
        Column("table_name", "STRING", "The profiled table", nullable=False),
        Column("before_version", "BIGINT", "The earlier Delta version", nullable=False),
        Column("version", "BIGINT", "The later Delta version", nullable=False),
        Column("column_name", "STRING", "The column", nullable=False),
        Column("before_rows", "BIGINT", "Values in the earlier version", nullable=False),
        Column("after_rows", "BIGINT", "Values in the later version", nullable=False),
        Column("psi", "DOUBLE", "Population stability index; 0: no change", nullable=False),
        Column("ks", "DOUBLE", "Kolmogorov-Smirnov distance; numbers and times only"),
        Column("new_categories", "ARRAY<STRING>", "Categories of the later version alone"),
        Column("gone_categories", "ARRAY<STRING>", "Categories of the earlier version alone"),
        Column("null_fraction_before", "DOUBLE", "Fraction of nulls in the earlier version"),
        Column("null_fraction_after", "DOUBLE", "Fraction of nulls in the later version"),
    ),
    user_columns=(),
    written_by="profile_tables",
)


def profile(
    frame: DataFrame, params: ProfileParams, columns: Sequence[str] | None = None
) -> DataFrame:
    """The distribution of each column, or of `columns`, from one pass over the frame. Lazy.

    Gives column_name, kind, bin_low, bin_high, category, rows, fraction, density. Bins have exact
    counts, and their width is a power of two; empty bins have no row. An element counts once per
    list.
    """
    of_column = Window.partitionBy("column_name", "kind")
    cells = count_cells(frame, columns)
    width = bin_width(
        F.max("unit").over(of_column),
        F.min("cell").over(of_column),
        F.max("cell").over(of_column),
        params.bins,
    )
    rank = F.row_number().over(of_column.orderBy(F.desc("rows"), "category"))
    other = (F.col("kind") == "bar") & (F.col("place") > params.top)
    counted = cells.withColumns({"width": width, "place": rank}).select(
        "column_name",
        F.when(other, "other").otherwise(F.col("kind")).alias("kind"),
        (F.floor(F.col("cell") / F.col("width")) * F.col("width")).alias("bin_low"),
        "width",
        F.when(~other, F.col("category")).alias("category"),
        "rows",
    )
    binned = counted.groupBy("column_name", "kind", "bin_low", "width", "category").agg(
        F.sum("rows").alias("rows")
    )
    total = F.sum("rows").over(Window.partitionBy("column_name"))
    return binned.select(
        "column_name",
        "kind",
        "bin_low",
        (F.col("bin_low") + F.col("width")).alias("bin_high"),
        "category",
        "rows",
        (F.col("rows") / total).alias("fraction"),
        (F.col("rows") / F.sum("rows").over(of_column) / F.col("width")).alias("density"),
    )


def profiled_before(profiles: DataFrame, table: str, version: int) -> int | None:
    """The last version of `table` before `version` with a profile; starts one Spark job."""
    earlier = (F.col("table_name") == table) & (F.col("version") < version)
    newest = profiles.where(earlier).agg(F.max("version")).collect()[0][0]
    return None if newest is None else int(newest)
