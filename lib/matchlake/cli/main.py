"""The one command line, `matchlake`. Only the commands that need Spark import it."""

import ast
import logging
import runpy
import sys
from collections.abc import Mapping
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console
from rich.markup import escape

from matchlake.cli.lazy import LazyCommand
from matchlake.dev.bundle.commands import bundle_app
from matchlake.errors import ConfigError, MatchlakeError
from matchlake.io.secrets import mask_log, masked

SECRETS = LazyCommand(
    "secrets",
    "matchlake.cli.secrets:secrets_app",
    "Where secrets come from; values never show.",
)
app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
SECRETS.add_to(app)
app.add_typer(bundle_app, name="bundle")
if find_spec("matchlake.dev.sandbox"):
    from matchlake.cli.dev import add_laptop_commands

    add_laptop_commands(app)
_err = Console(stderr=True)


@app.callback(invoke_without_command=True)
def root(*, show_version: Annotated[bool, typer.Option("--version")] = False) -> None:
    """Features and recommenders on Spark, Kafka and Delta: jobs, secrets, SQL, tracking."""
    if show_version:
        typer.echo(version("matchlake"))
        raise typer.Exit


def job_folder() -> Path:
    """The project's jobs/ folder, beside its conf/."""
    from matchlake.config import find_conf  # noqa: PLC0415 - brings Spark, seconds

    return find_conf().parent / "jobs"


# --help before the job's name asks about `run`, after it about the job: so it is ours to read.
_RUN = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}


@app.command(context_settings=_RUN)
def run(
    context: typer.Context, name: Annotated[str, typer.Argument(help="the job")] = "--help"
) -> None:
    """Runs a job of jobs/, as spark-submit would; its own options follow the name."""
    jobs = {path.stem: path for path in sorted(job_folder().glob("*.py"))}
    if name == "--help":
        typer.echo(_usage(jobs))
        return
    if name not in jobs:
        raise ConfigError(f"No job {name!r}: there is {', '.join(jobs)}.")
    sys.argv = [str(jobs[name]), *context.args]
    runpy.run_path(str(jobs[name]), run_name="__main__")


def _usage(jobs: Mapping[str, Path]) -> str:
    lines = ["Usage: matchlake run JOB [--env ENV] [--set KEY=VALUE]... [options of the job]", ""]
    for name, path in jobs.items():
        told = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        lines.append(f"  {name:20} {told.splitlines()[0]}")
    return "\n".join([*lines, "", "matchlake run JOB --help tells a job's own options."])


def main() -> None:
    """Runs the command line; an expected error is one message and exit code 1."""
    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s")
    # kafka-python warns of its own scheduling, and at each login of the sandbox's plain listener.
    logging.getLogger("kafka").setLevel(logging.ERROR)
    mask_log()
    try:
        app()
    except MatchlakeError as error:
        _fail(masked(str(error)))
    except ModuleNotFoundError as error:
        if error.name != "pyspark":
            raise
        _fail(
            "This command needs pyspark, which is not installed: pip install 'matchlake[spark]'. "
            "On Databricks the runtime brings it."
        )


def _fail(message: str) -> NoReturn:
    _err.print(f"[bold red]error:[/] {escape(message)}", highlight=False, soft_wrap=True)
    sys.exit(1)
