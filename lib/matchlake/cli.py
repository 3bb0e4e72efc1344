"""The one command line, `matchlake`."""

import logging
import runpy
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from matchlake.bundle.commands import bundle_app
from matchlake.config import find_conf, load_config
from matchlake.errors import ConfigError, MatchlakeError
from matchlake.ingest_commands import reconcile, replay_quarantine, watch
from matchlake.io.tracking import Tracker
from matchlake.sandbox.commands import doctor, sandbox_app
from matchlake.sql.commands import sql, sql_server_command
from matchlake.sql.describe import describe_command

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
app.add_typer(sandbox_app, name="sandbox")
app.add_typer(bundle_app, name="bundle")
app.command()(doctor)
app.command()(sql)
app.command("sql-server")(sql_server_command)
app.command("describe")(describe_command)
app.command()(reconcile)
app.command("replay-quarantine")(replay_quarantine)
app.command()(watch)
_err = Console(stderr=True)


@app.callback(invoke_without_command=True)
def root(*, show_version: Annotated[bool, typer.Option("--version")] = False) -> None:
    """Features and recommenders on Spark, Kafka and Delta: jobs, sandbox, SQL, tracking."""
    if show_version:
        typer.echo(version("matchlake"))
        raise typer.Exit


def job_folder() -> Path:
    """The project's jobs/ folder, beside its conf/."""
    return find_conf().parent / "jobs"


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def run(context: typer.Context, name: Annotated[str, typer.Argument(help="the job")]) -> None:
    """Runs a job of jobs/, as spark-submit would; its own options follow the name."""
    jobs = {path.stem: path for path in sorted(job_folder().glob("*.py"))}
    if name not in jobs:
        raise ConfigError(f"No job {name!r}: there is {', '.join(jobs)}.")
    sys.argv = [str(jobs[name]), *context.args]
    runpy.run_path(str(jobs[name]), run_name="__main__")


@app.command()
def demo(
    ratings: Annotated[
        int | None, typer.Option(min=1, help="only the first so many ratings")
    ] = None,
) -> None:
    """Runs the whole product on MovieLens-100K: broker, tables, features, model, SQL."""
    from matchlake.demo import run_demo  # noqa: PLC0415 - brings Spark, seconds

    run_demo(Console(), ratings)


@app.command()
def mlflow(
    port: Annotated[int | None, typer.Option(help="where it listens; else a free one")] = None,
    env: Annotated[str, typer.Option(help="conf/ENV.yml over conf/base.yml")] = "local",
) -> None:
    """Serves MLflow's page on the laptop's own runs and models, until Ctrl-C."""
    from matchlake.sandbox.tracking_page import serve_page  # noqa: PLC0415 - slow to import

    config = load_config(env)
    serve_page(Tracker(config.tracking, config.lakehouse), port)


def main() -> None:
    """Runs the command line; an expected error is one message and exit code 1."""
    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s")
    try:
        app()
    except MatchlakeError as error:
        _err.print(f"[bold red]error:[/] {escape(str(error))}", highlight=False, soft_wrap=True)
        sys.exit(1)
