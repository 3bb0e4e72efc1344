"""The command line `matchlake`. Only commands that need Spark import Spark."""

import ast
import logging
import runpy
import sys
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console
from rich.markup import escape

from matchlake.cli.lazy import LazyCommand
from matchlake.errors import ConfigError, MatchlakeError
from matchlake.io.conf_folder import find_conf
from matchlake.io.secrets import mask_log, masked

PRODUCTION = (
    LazyCommand(
        "sql",
        "matchlake.cli.sql.commands:sql",
        "Queries tables and views: one query, a file of them, or a prompt without one.",
    ),
    LazyCommand(
        "sql-server",
        "matchlake.cli.sql.commands:sql_server_command",
        "Serves tables and views to JDBC clients on this machine, until Ctrl-C or SIGTERM.",
    ),
    LazyCommand(
        "profile",
        "matchlake.cli.sql.profile:profile_command",
        "Shows histograms and counts of a table's columns, or their drift since a version.",
    ),
    LazyCommand(
        "report",
        "matchlake.cli.report:report_command",
        "Writes a report: ingestion, recommendations, models, drift, user, or all of them.",
    ),
    LazyCommand(
        "streams",
        "matchlake.cli.streams:streams_app",
        "Shows the state of the streams that `ingest_events` reads.",
    ),
    LazyCommand(
        "reconcile",
        "matchlake.cli.streams:reconcile",
        "Checks that the tables account for every offset that was read.",
    ),
    LazyCommand(
        "replay-quarantine",
        "matchlake.cli.streams:replay_quarantine",
        "Parses quarantined records again with the columns that conf declares now.",
    ),
    LazyCommand(
        "erase-user",
        "matchlake.cli.erase:erase_user",
        "Erases one user from bronze, quarantine, silver and gold, and from the tables' old files.",
    ),
    LazyCommand(
        "models",
        "matchlake.cli.models:models_app",
        "Lists models and their history, goes back to a version, exports and verifies models.",
    ),
    LazyCommand(
        "serve",
        "matchlake.cli.serve:serve",
        "Serves a model over HTTP, until Ctrl-C or SIGTERM.",
    ),
    LazyCommand(
        "serve-stream",
        "matchlake.cli.serve_stream:serve_stream",
        "Folds each event of a stream into its user at once, and emits the new list.",
    ),
    LazyCommand(
        "deploy",
        "matchlake.cli.deploy:deploy_app",
        "Writes deployment files from conf (Kubernetes, Azure, IoT Edge), and checks them.",
    ),
    LazyCommand(
        "conf",
        "matchlake.cli.conf:conf_app",
        "Checks conf/, and shows its keys and values.",
    ),
    LazyCommand(
        "secrets",
        "matchlake.cli.secrets:secrets_app",
        "Checks and stores the secrets that conf refers to; never prints a value.",
    ),
)
"""The commands of an installed wheel; they need conf/ and jobs/, and Spark to read tables."""

LOCAL = (
    LazyCommand(
        "init",
        "matchlake.dev.commands:init",
        "Creates a project of your own with sample data: conf, jobs, bundle.",
    ),
    LazyCommand(
        "demo",
        "matchlake.dev.commands:demo",
        "Runs the main jobs on sample data: broker, tables, features, models, SQL.",
    ),
    LazyCommand(
        "sandbox",
        "matchlake.dev.sandbox.commands:sandbox_app",
        "Starts and stops a local Kafka broker, Key Vault and Databricks workspace.",
    ),
    LazyCommand(
        "doctor",
        "matchlake.dev.sandbox.commands:doctor",
        "Checks this machine for what matchlake needs; exits with 1 if something is missing.",
    ),
    LazyCommand(
        "bundle",
        "matchlake.dev.bundle.commands:bundle_app",
        "Checks the Databricks bundle, and runs its jobs on this machine.",
    ),
    LazyCommand(
        "notebooks",
        "matchlake.dev.commands:notebooks",
        "Writes the notebooks in Jupyter's format; Databricks opens them as they are.",
    ),
    LazyCommand(
        "mlflow",
        "matchlake.dev.commands:mlflow",
        "Serves the MLflow page of the local runs and models, until Ctrl-C.",
    ),
)
"""The commands for a development machine; their packages are the extra `local`."""

# Packages that the plain wheel does not install, with the extra that installs each.
_EXTRAS = {
    "pyspark": "spark",
    "py4j": "spark",
    "delta": "spark",
    "lightgbm": "models",
    "onnx": "models",
    "onnxruntime": "models",
    "starlette": "serve",
    "uvicorn": "serve",
    "uvloop": "serve",
    "httptools": "serve",
    "sklearn": "models",
    "cryptography": "local",
    "psutil": "local",
    "psycopg": "online",
}
_INTERRUPTED = 130
_PRODUCTION_PANEL, _LOCAL_PANEL = "Commands", "Development machine (extra `local`)"

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
_err = Console(stderr=True)


@app.callback(invoke_without_command=True)
def root(*, show_version: Annotated[bool, typer.Option("--version")] = False) -> None:
    """Features and recommenders on Spark, Kafka and Delta: jobs, secrets, SQL, tracking.

    For example: matchlake run ingest_events --env dev
    """
    if show_version:
        typer.echo(version("matchlake"))
        raise typer.Exit


def job_folder() -> Path:
    """The project's jobs/ folder, beside its conf/."""
    return find_conf().parent / "jobs"


# `--help` before the job's name shows the jobs; after the name it shows the job's options. Typer
# leaves both to `run`.
_RUN = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}


@app.command(context_settings=_RUN, rich_help_panel=_PRODUCTION_PANEL)
def run(
    context: typer.Context, name: Annotated[str, typer.Argument(help="the job")] = "--help"
) -> None:
    """Runs a job of jobs/, as spark-submit would; options of the job follow its name."""
    jobs = {path.stem: path for path in sorted(job_folder().glob("*.py"))}
    if name == "--help":
        typer.echo(_usage(jobs))
        return
    if name not in jobs:
        raise ConfigError(f"No job {name!r}. Jobs: {', '.join(jobs)}.")
    sys.argv = [str(jobs[name]), *context.args]
    runpy.run_path(str(jobs[name]), run_name="__main__")


for _command in PRODUCTION:
    _command.add_to(app, _PRODUCTION_PANEL)
for _command in LOCAL:
    _command.add_to(app, _LOCAL_PANEL)


def _usage(jobs: Mapping[str, Path]) -> str:
    lines = ["Usage: matchlake run JOB [--env ENV] [--set KEY=VALUE]... [options of the job]", ""]
    for name, path in jobs.items():
        docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        lines.append(f"  {name:20} {docstring.splitlines()[0]}")
    example = "For example: matchlake run ingest_events --env dev --set ingest.trigger='10 seconds'"
    return "\n".join([*lines, "", "matchlake run JOB --help lists a job's own options.", example])


def main() -> None:
    """Runs the command line; an expected error is one message and exit code 1."""
    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s")
    # kafka-python warns about its own scheduling, and at each login to the sandbox's broker.
    logging.getLogger("kafka").setLevel(logging.ERROR)
    mask_log()
    try:
        app()
    except MatchlakeError as error:
        _fail(masked(str(error)))
    except KeyboardInterrupt:
        _err.print("Interrupted.")
        sys.exit(_INTERRUPTED)
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in _EXTRAS:
            raise
        _fail(_missing(package, _EXTRAS[package]))


def _missing(package: str, extra: str) -> str:
    on_platform = " On Databricks the runtime includes it." if extra == "spark" else ""
    return (
        f"This command needs the package {package}, which is not installed. Install it with "
        f"pip install 'matchlake[{extra}]'.{on_platform}"
    )


def _fail(message: str) -> NoReturn:
    _err.print(f"[bold red]error:[/] {escape(message)}", highlight=False, soft_wrap=True)
    sys.exit(1)
