"""The command `profile`: distributions of a table's columns, and their drift."""

from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import typer
from pyspark.sql import DataFrame
from rich.console import Console
from rich.table import Table

from matchlake.cli.launch import SPARK_ERRORS, start_quietly
from matchlake.cli.options import Environment, Overrides
from matchlake.cli.sql.messages import describe_error
from matchlake.config import load_config
from matchlake.errors import TableError
from matchlake.io.delta import Lakehouse
from matchlake.profiling.drift import drift
from matchlake.profiling.profile import profile

_BAR = 30


def profile_command(
    table: Annotated[str, typer.Argument(help="schema.table")],
    columns: Annotated[list[str] | None, typer.Option("--column", help="may be repeated")] = None,
    compare_to_version: Annotated[
        int | None, typer.Option(help="an earlier Delta version: shows drift")
    ] = None,
    plots: Annotated[Path | None, typer.Option(help="a folder for one PNG per column")] = None,
    env: Environment = "local",
    overrides: Overrides = None,
) -> None:
    """Shows histograms and counts of a table's columns, or their drift since a version.

    `--set profile.bins=50` and `--set profile.top=5` set the numbers of bins and of categories.
    The width of a bin is a power of two. The job profile_tables writes the same to
    gold.column_profiles and gold.drift.

    For example: matchlake profile silver.interactions --column rating
    """
    runtime = start_quietly(load_config(env, overrides or []), "profile")
    lake, params, console = runtime.lakehouse, runtime.config.profile, Console()
    try:
        if compare_to_version is not None:
            earlier = _rows_at(lake, table, compare_to_version)
            moved = drift(earlier, lake.read(table), params.bins, columns)
            ordered = moved.orderBy("column_name").toPandas()
            console.print(_drift_table(ordered, f"{table} since version {compare_to_version}"))
            return
        result = profile(lake.read(table), params, columns).toPandas()
    except SPARK_ERRORS as error:
        raise TableError(f"{table} cannot be profiled: {describe_error(error)}") from None
    for column, rows in result.groupby("column_name"):
        console.print(_column_table(rows, f"{column}: {rows['rows'].sum():,} values"))
    if plots:
        _save(result, table, plots)
        console.print(f"plots: {plots}")


def _rows_at(lake: Lakehouse, table: str, version: int) -> DataFrame:
    newest = lake.version(table)
    if not 0 <= version <= newest:
        raise TableError(f"{table} has no version {version}: its newest is {newest}.")
    rows = lake.read(table, version)
    if rows.isEmpty():
        raise TableError(
            f"{table} had no rows at version {version}, so there is no drift since: compare "
            f"with a later version; the newest is {newest}."
        )
    return rows


def _save(found: pd.DataFrame, table: str, folder: Path) -> None:
    from matchlake.profiling.plots import draw_column  # noqa: PLC0415 - brings matplotlib, slow

    folder.mkdir(parents=True, exist_ok=True)
    for column, rows in found.groupby("column_name"):
        draw_column(rows, f"{table}.{column}").savefig(folder / f"{column}.png")


def _column_table(rows: pd.DataFrame, title: str) -> Table:
    shown = Table("", "rows", "fraction", "", title=title, title_justify="left", box=None)
    for column in shown.columns[1:3]:
        column.justify = "right"
    ordered = rows.sort_values(["kind", "bin_low", "rows"], ascending=[True, True, False])
    largest = ordered["fraction"].max()
    for row in ordered.to_dict("records"):
        bar = "█" * round(_BAR * row["fraction"] / largest)
        shown.add_row(_label(row), f"{row['rows']:,}", f"{row['fraction']:.1%}", bar)
    return shown


def _label(row: Mapping[Hashable, Any]) -> str:
    match row["kind"]:
        case "histogram":
            return f"{row['bin_low']:g} to {row['bin_high']:g}"
        case "timeline":
            first, last = (
                pd.Timestamp(day, unit="D").date() for day in (row["bin_low"], row["bin_high"] - 1)
            )
            return f"{first} to {last}" if first < last else str(first)
        case "bar":
            return repr(row["category"])
    return f"({row['kind']})"


def _drift_table(moved: pd.DataFrame, title: str) -> Table:
    shown = Table("column", "psi", "ks", "nulls", "new", "gone", title=title)
    for row in moved.to_dict("records"):
        nulls = f"{row['null_fraction_before']:.1%} -> {row['null_fraction_after']:.1%}"
        ks = "" if pd.isna(row["ks"]) else f"{row['ks']:.3f}"
        new, gone = (", ".join(row[f"{which}_categories"][:5]) for which in ("new", "gone"))
        shown.add_row(row["column_name"], f"{row['psi']:.4f}", ks, nulls, new, gone)
    return shown
