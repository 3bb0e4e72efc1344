"""The features of `feature_peers` in the `index` layout, by other engines on one machine.

DuckDB and Polars as their users write them: a fit, a look-up by join, Parquet as result. They write
no Delta table, check no constraint, and keep no state.
"""

from collections.abc import Sequence
from functools import reduce
from pathlib import Path

import duckdb
import polars as pl
from pyspark.sql import SparkSession

from matchlake.features.feature_set import FeatureSet
from matchlake.features.params import EngineName, FeatureTable
from matchlake.io.delta import Lakehouse
from matchlake.lakehouse.feature_build import build_feature_table


def build_with(
    engine: EngineName, spark: SparkSession, folder: Path, features: FeatureSet, out: Path
) -> None:
    """The whole `build_feature_table` of a new lakehouse: its source are the files of `folder`."""
    source = out / "bronze" / "flights"
    source.parent.mkdir(parents=True)
    source.symlink_to(folder)
    for name in ("gold.flights", "gold.feature_sets", "gold.feature_vocabulary"):
        spark.sql(f"DROP TABLE IF EXISTS {name}")
    for name in ("gold.feature_counts", "bronze.flights"):
        spark.sql(f"DROP TABLE IF EXISTS {name}")
    table = FeatureTable(
        source="bronze.flights",
        table="gold.flights",
        comment="Flights",
        features=features,
        layout="index",
    )
    build_feature_table(Lakehouse(spark, folder=str(out)), table, None, engine)
    source.unlink()


def plain_duckdb(
    folder: Path, out: Path, numbers: Sequence[str], categories: Sequence[str], threads: int
) -> None:
    """Plain SQL: ranges in one query, a table of indices by column, joins, one COPY."""
    given = f"read_parquet('{folder}/*.parquet')"
    out.mkdir()
    with duckdb.connect(config={"threads": threads}) as engine:
        ranges = ", ".join(f"min({name}), max({name})" for name in numbers)
        ends = engine.execute(f"SELECT {ranges} FROM {given}").fetchall()[0]
        scaled = [
            f"greatest(0e0, least(1e0, ({name} - {low!r}::DOUBLE) / {high - low!r})) AS {name}"
            for name, low, high in zip(numbers, ends[::2], ends[1::2], strict=True)
        ]
        for name in categories:
            engine.execute(
                f"CREATE TABLE in_{name} AS SELECT {name} AS value, (row_number() OVER"
                f" (ORDER BY count(1) DESC, {name}))::INT AS place"
                f" FROM {given} WHERE {name} IS NOT NULL GROUP BY {name}"
            )
        places = [f"in_{name}.place AS {name}" for name in categories]
        joins = [f"LEFT JOIN in_{name} ON given.{name} = in_{name}.value" for name in categories]
        query = (
            f"SELECT id, {', '.join([*scaled, *places])} FROM {given} AS given {' '.join(joins)}"
        )
        engine.execute("SET preserve_insertion_order = false")
        engine.execute(f"COPY ({query}) TO '{out}/features.parquet' (FORMAT parquet)")


def plain_polars(
    folder: Path, out: Path, numbers: Sequence[str], categories: Sequence[str]
) -> None:
    """The streaming engine of Polars: ranges and counts, joins, one sink."""
    given = pl.scan_parquet(folder / "*.parquet")
    out.mkdir()
    ranges = [given.select(pl.col(numbers).min().name.suffix("_low"), pl.col(numbers).max())]
    counted = [given.group_by(name).agg(pl.len().alias("rows")) for name in categories]
    ends, *counts = pl.collect_all([*ranges, *counted], engine="streaming")
    scaled = []
    for name in numbers:
        low, high = ends[f"{name}_low"][0], ends[name][0]
        scaled.append(((pl.col(name) - low) / (high - low)).clip(0.0, 1.0))
    places = [
        count.drop_nulls().sort("rows", descending=True).drop("rows").with_row_index(f"in_{name}")
        for name, count in zip(categories, counts, strict=True)
    ]
    joined = reduce(
        lambda frame, place: frame.join(place.lazy(), on=place.columns[1], how="left"),
        places,
        given.with_columns(scaled),
    )
    found = [pl.col(f"in_{name}").cast(pl.Int32).alias(name) for name in categories]
    joined.select("id", *numbers, *found).sink_parquet(out / "features.parquet")
