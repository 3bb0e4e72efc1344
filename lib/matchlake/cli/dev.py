"""The commands of a laptop: sandbox, doctor, demo, SQL, streams, notebooks, tracking page.

They and the sandbox are in the project's folder, not in the wheel: a platform has the real things.
"""

import signal
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from matchlake.cli.lazy import LazyCommand

LAPTOP = (
    LazyCommand(
        "sandbox",
        "matchlake.dev.sandbox.commands:sandbox_app",
        "A laptop's own Kafka broker, Key Vault and Databricks scope.",
    ),
    LazyCommand(
        "doctor",
        "matchlake.dev.sandbox.commands:doctor",
        "Shows what is here and what is missing; exits with 1 when something is.",
    ),
    LazyCommand(
        "sql",
        "matchlake.cli.sql.commands:sql",
        "Reads the tables and views in SQL: one query, or a prompt when there is none.",
    ),
    LazyCommand(
        "sql-server",
        "matchlake.cli.sql.commands:sql_server_command",
        "Serves tables and views to any JDBC client on this machine, until Ctrl-C or SIGTERM.",
    ),
    LazyCommand(
        "profile",
        "matchlake.cli.sql.profile:profile_command",
        "Shows histograms and counts of a table's columns, or their drift since a version.",
    ),
    LazyCommand(
        "reconcile",
        "matchlake.cli.streams:reconcile",
        "Proves from the tables alone that each offset that was read is in exactly one place.",
    ),
    LazyCommand(
        "replay-quarantine",
        "matchlake.cli.streams:replay_quarantine",
        "Reads quarantined records again with the columns that conf declares now.",
    ),
    LazyCommand(
        "erase-user",
        "matchlake.cli.erase:erase_user",
        "Erases one user from bronze, quarantine, silver and gold, and from the tables' old files.",
    ),
    LazyCommand(
        "watch",
        "matchlake.cli.streams:watch",
        "Shows what the streams of `ingest_events` do, live, until Ctrl-C.",
    ),
)
"""What brings Spark or Kafka, imported when it is called."""


def add_laptop_commands(app: typer.Typer) -> None:
    """Adds them to the command line."""
    for command in LAPTOP:
        command.add_to(app)
    app.command()(demo)
    app.command()(notebooks)
    app.command()(mlflow)


def demo(
    ratings: Annotated[
        int | None, typer.Option(min=1, help="only the first so many ratings")
    ] = None,
    movielens: Annotated[
        Path | None, typer.Option(help="folder of a MovieLens set: ml-1m, ml-latest, ml-20m, ...")
    ] = None,
) -> None:
    """Runs the whole product on MovieLens-100K: broker, tables, features, model, SQL."""
    from matchlake.dev.demo import run_demo  # noqa: PLC0415 - brings Spark, seconds

    for ending in (signal.SIGTERM, signal.SIGHUP):  # a closed terminal leaves no broker behind
        signal.signal(ending, lambda number, _: sys.exit(128 + number))
    run_demo(Console(), ratings, movielens)


def notebooks(
    out: Annotated[Path, typer.Option(help="folder for the .ipynb files")] = Path(
        ".lakehouse/notebooks"
    ),
) -> None:
    """Writes the notebooks in Jupyter's format; Databricks opens them as they are."""
    from matchlake.config import find_conf  # noqa: PLC0415 - brings Spark, seconds
    from matchlake.dev.notebooks import write_jupyter  # noqa: PLC0415

    for path in write_jupyter(find_conf().parent / "notebooks", out):
        typer.echo(path)


def mlflow(
    port: Annotated[int | None, typer.Option(help="where it listens; else a free one")] = None,
    env: Annotated[str, typer.Option(help="conf/ENV.yml over conf/base.yml")] = "local",
) -> None:
    """Serves MLflow's page on the laptop's own runs and models, until Ctrl-C."""
    from matchlake.config import load_config  # noqa: PLC0415 - brings Spark, seconds
    from matchlake.dev.sandbox.tracking_page import serve_page  # noqa: PLC0415
    from matchlake.io.mlflow_tracking import Tracker  # noqa: PLC0415

    config = load_config(env)
    serve_page(Tracker(config.tracking, config.lakehouse), port)
