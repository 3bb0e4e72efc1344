"""The command line's `describe`: what a table's columns hold, and how they have moved."""

from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import typer
from pyspark.sql import DataFrame
from rich.console import Console
from rich.table import Table

from matchlake.cli.launch import start_quietly
from matchlake.cli.options import Environment, Overrides
from matchlake.cli.sql.messages import SPARK_ERRORS, describe_error
from matchlake.config import load_config
from matchlake.errors import TableError
from matchlake.io.delta import Lakehouse
from matchlake.profiling.drift import drift
from matchlake.profiling.profile import describe

_BAR = 30


def describe_command(
    table: Annotated[str, typer.Argument(help="schema.table")],
    columns: Annotated[list[str] | None, typer.Option("--column", help="may be repeated")] = None,
    against: Annotated[int | None, typer.Option(help="an earlier Delta version: drift")] = None,
    pictures: Annotated[Path | None, typer.Option(help="a folder for one PNG a column")] = None,
    env: Environment = "local",
    overrides: Overrides = None,
) -> None:
    """Shows histograms and counts of a table's columns, or what moved since a version.

    `--set describe.bins=50` and `--set describe.top=5` choose how many bins, of a width that is a
    power of two, and bars. The job describe_tables keeps the same in gold.descriptions and
    gold.drift.

    For example: matchlake describe silver.interactions --column rating
    """
    runtime = start_quietly(load_config(env, overrides or []), "describe")
    lake, params, console = runtime.lakehouse, runtime.config.describe, Console()
    try:
        if against is not None:
            moved = drift(_rows_at(lake, table, against), lake.read(table), params.bins, columns)
            ordered = moved.orderBy("column_name").toPandas()
            console.print(_drift_table(ordered, f"{table} since version {against}"))
            return
        described = describe(lake.read(table), params, columns).toPandas()
    except SPARK_ERRORS as error:
        raise TableError(f"{table} cannot be described: {describe_error(error)}") from None
    for column, rows in described.groupby("column_name"):
        console.print(_column_table(rows, f"{column}: {rows['rows'].sum():,} values"))
    if pictures:
        _save(described, table, pictures)
        console.print(f"pictures: {pictures}")


def _rows_at(lake: Lakehouse, table: str, version: int) -> DataFrame:
    newest = lake.version(table)
    if not 0 <= version <= newest:
        raise TableError(f"{table} has no version {version}: its newest is {newest}.")
    rows = lake.read(table, version)
    if rows.isEmpty():
        raise TableError(
            f"{table} had no rows at version {version}, so nothing moved since: compare with a "
            f"later one; the newest is {newest}."
        )
    return rows


def _save(described: pd.DataFrame, table: str, folder: Path) -> None:
    from matchlake.profiling.plots import draw_column  # noqa: PLC0415 - brings matplotlib, slow

    folder.mkdir(parents=True, exist_ok=True)
    for column, rows in described.groupby("column_name"):
        draw_column(rows, f"{table}.{column}").savefig(folder / f"{column}.png")


def _column_table(rows: pd.DataFrame, title: str) -> Table:
    shown = Table("", "rows", "share", "", title=title, title_justify="left", box=None)
    for column in shown.columns[1:3]:
        column.justify = "right"
    ordered = rows.sort_values(["kind", "bin_low", "rows"], ascending=[True, True, False])
    most = ordered["share"].max()
    for row in ordered.to_dict("records"):
        bar = "█" * round(_BAR * row["share"] / most)
        shown.add_row(_label(row), f"{row['rows']:,}", f"{row['share']:.1%}", bar)
    return shown


def _label(row: Mapping[Hashable, Any]) -> str:
    match row["kind"]:
        case "histogram":
            return f"{row['bin_low']:g} to {row['bin_high']:g}"
        case "bar":
            return repr(row["category"])
    return f"({row['kind']})"


def _drift_table(moved: pd.DataFrame, title: str) -> Table:
    shown = Table("column", "psi", "ks", "nulls", "new", "gone", title=title)
    for row in moved.to_dict("records"):
        nulls = f"{row['null_share_before']:.1%} -> {row['null_share_after']:.1%}"
        ks = "" if pd.isna(row["ks"]) else f"{row['ks']:.3f}"
        new, gone = (", ".join(row[f"{which}_categories"][:5]) for which in ("new", "gone"))
        shown.add_row(row["column_name"], f"{row['psi']:.4f}", ks, nulls, new, gone)
    return shown
