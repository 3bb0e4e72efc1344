"""The commands of a laptop: sandbox, doctor, demo, SQL, streams, tracking page.

They and the sandbox are in the project's folder, not in the wheel: a platform has the real things.
"""

from typing import Annotated

import typer
from rich.console import Console

from matchlake.config import load_config
from matchlake.ingest_commands import reconcile, replay_quarantine, watch
from matchlake.io.tracking import Tracker
from matchlake.sandbox.commands import doctor, sandbox_app
from matchlake.sql.commands import sql, sql_server_command
from matchlake.sql.describe import describe_command


def add_laptop_commands(app: typer.Typer) -> None:
    """Adds them to the command line."""
    app.add_typer(sandbox_app, name="sandbox")
    app.command()(doctor)
    app.command()(sql)
    app.command("sql-server")(sql_server_command)
    app.command("describe")(describe_command)
    app.command()(reconcile)
    app.command("replay-quarantine")(replay_quarantine)
    app.command()(watch)
    app.command()(demo)
    app.command()(mlflow)


def demo(
    ratings: Annotated[
        int | None, typer.Option(min=1, help="only the first so many ratings")
    ] = None,
) -> None:
    """Runs the whole product on MovieLens-100K: broker, tables, features, model, SQL."""
    from matchlake.demo import run_demo  # noqa: PLC0415 - brings Spark, seconds

    run_demo(Console(), ratings)


def mlflow(
    port: Annotated[int | None, typer.Option(help="where it listens; else a free one")] = None,
    env: Annotated[str, typer.Option(help="conf/ENV.yml over conf/base.yml")] = "local",
) -> None:
    """Serves MLflow's page on the laptop's own runs and models, until Ctrl-C."""
    from matchlake.sandbox.tracking_page import serve_page  # noqa: PLC0415 - slow to import

    config = load_config(env)
    serve_page(Tracker(config.tracking, config.lakehouse), port)
