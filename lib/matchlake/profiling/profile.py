"""A table's columns as histograms and bar charts, and how they differ from before."""

from collections.abc import Sequence

from pydantic import Field
from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from matchlake.params import Params
from matchlake.profiling.histogram import bin_width, count_cells
from matchlake.schemas import Column, TableName, TableSpec

DESCRIPTIONS = TableSpec(
    "gold.descriptions",
    "The distribution of every column of the described tables, one row a bin or category.",
    (
        Column("table_name", "STRING", "The table that was described", nullable=False),
        Column("version", "BIGINT", "The Delta version of it that was read", nullable=False),
        Column("column_name", "STRING", "The column", nullable=False),
        Column("kind", "STRING", "histogram, bar, other, null or not_finite", nullable=False),
        Column("bin_low", "DOUBLE", "Where the histogram's bin starts, itself within"),
        Column("bin_high", "DOUBLE", "Where the bin ends, itself beyond it"),
        Column("category", "STRING", "The category of a bar"),
        Column("rows", "BIGINT", "Rows of the bin or category", nullable=False),
        Column("share", "DOUBLE", "Their share of all values of the column", nullable=False),
        Column("density", "DOUBLE", "Share of the finite values, divided by the bin's width"),
    ),
    written_by="describe_tables",
)

DRIFT = TableSpec(
    "gold.drift",
    "How far each column of the described tables has moved since the version described before.",
    (
        Column("table_name", "STRING", "The table that was described", nullable=False),
        Column("before_version", "BIGINT", "The earlier Delta version", nullable=False),
        Column("version", "BIGINT", "The later Delta version", nullable=False),
        Column("column_name", "STRING", "The column", nullable=False),
        Column("before_rows", "BIGINT", "Values in the earlier version", nullable=False),
        Column("after_rows", "BIGINT", "Values in the later version", nullable=False),
        Column("psi", "DOUBLE", "Population stability index; 0: nothing moved", nullable=False),
        Column("ks", "DOUBLE", "Greatest distance of the cumulative shares; numbers only"),
        Column("new_categories", "ARRAY<STRING>", "Categories that were not there before"),
        Column("gone_categories", "ARRAY<STRING>", "Categories that are there no more"),
        Column("null_share_before", "DOUBLE", "Share of nulls in the earlier version"),
        Column("null_share_after", "DOUBLE", "Share of nulls in the later version"),
    ),
    written_by="describe_tables",
)


class DescribeParams(Params):
    """Which tables are described, and how much of each a description shows."""

    tables: tuple[TableName, ...] = ()
    """The tables that `describe_tables` describes."""
    bins: int = Field(20, ge=1, le=1000)
    """At most about this many bins a histogram; their width is a power of two."""
    top: int = Field(20, ge=1, le=1000)
    """Categories with a bar of their own, the most frequent; the rest is summed up as other."""


def describe(
    frame: DataFrame, params: DescribeParams, columns: Sequence[str] | None = None
) -> DataFrame:
    """The distribution of each column, or of `columns`, from one pass over the frame. Lazy.

    Gives column_name, kind, bin_low, bin_high, category, rows, share, density. Bins have exact
    counts and a width that is a power of two; empty ones are left out. Lists count each element
    once a list.
    """
    of_column = Window.partitionBy("column_name", "kind")
    cells = count_cells(frame, columns)
    width = bin_width(
        F.max("unit").over(of_column),
        F.min("cell").over(of_column),
        F.max("cell").over(of_column),
        params.bins,
    )
    place = F.row_number().over(of_column.orderBy(F.desc("rows"), "category"))
    other = (F.col("kind") == "bar") & (F.col("place") > params.top)
    counted = cells.withColumns({"width": width, "place": place}).select(
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
        (F.col("rows") / total).alias("share"),
        (F.col("rows") / F.sum("rows").over(of_column) / F.col("width")).alias("density"),
    )


def described_before(descriptions: DataFrame, table: str, version: int) -> int | None:
    """The last version of `table` before `version` that was described; starts one Spark job."""
    earlier = (F.col("table_name") == table) & (F.col("version") < version)
    found = descriptions.where(earlier).agg(F.max("version")).collect()[0][0]
    return None if found is None else int(found)
