"""`matchlake init`, `matchlake demo`, `matchlake notebooks` and `matchlake mlflow`."""

import signal
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from matchlake.config import environments, find_conf, load_config
from matchlake.dev.init.project import Example, Pipeline, create_project
from matchlake.dev.notebooks import write_jupyter
from matchlake.dev.sandbox.tracking_page import serve_page
from matchlake.errors import ConfigError
from matchlake.io.mlflow_tracking import Tracker

_INTERRUPTED = 130

_PIPED_WIDTH = 150
"""The columns of output that goes to a file: its lines are not folded."""


def demo(
    ratings: Annotated[
        int | None, typer.Option(min=1, help="MovieLens: how many ratings to use; default: all")
    ] = None,
    movielens: Annotated[
        Path | None, typer.Option(help="folder of a MovieLens set: ml-1m, ml-latest, ml-20m, ...")
    ] = None,
    *,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="shows the jobs' log")] = False,
) -> None:
    """Runs the main jobs on sample data: broker, tables, features, models, SQL.

    If conf has the environment `demo`, the data is MovieLens-100K. Otherwise it is that of the
    project's folder `samples`.

    For example: matchlake demo --ratings 20000
    """
    for number in (signal.SIGTERM, signal.SIGHUP):  # a closed terminal leaves no broker behind
        signal.signal(number, lambda received, _: sys.exit(128 + received))
    console = Console()
    if not console.is_terminal:
        console.width = _PIPED_WIDTH
    try:
        _run_demo(console, ratings, movielens, verbose=verbose)
    except KeyboardInterrupt:
        console.print("Interrupted; nothing is left running. The same command continues the demo.")
        raise typer.Exit(_INTERRUPTED) from None


def _run_demo(
    console: Console, ratings: int | None, movielens: Path | None, *, verbose: bool
) -> None:
    from matchlake.dev.demo.movielens import run_movielens  # noqa: PLC0415 - brings Spark, seconds
    from matchlake.dev.demo.samples import run_samples  # noqa: PLC0415

    if "demo" in environments(find_conf()):
        run_movielens(console, ratings, movielens, verbose=verbose)
        return
    if ratings or movielens:
        raise ConfigError(
            "--ratings and --movielens are for a project with the environment `demo`, as "
            "`matchlake init NAME --example movielens` makes it."
        )
    run_samples(console, verbose=verbose)


def init(
    name: Annotated[
        str, typer.Argument(help="folder of the new project; its name is the last part")
    ],
    *,
    example: Annotated[Example, typer.Option(help="the sample data")] = Example.SHOP,
    ci: Annotated[
        Pipeline | None, typer.Option(help="also a pipeline that checks, tests and deploys")
    ] = None,
) -> None:
    """Creates a project of your own with sample data: conf, jobs, bundle.

    For example: matchlake init shop && cd shop && matchlake demo
    """
    folder = Path(name)
    create_project(folder, example, ci)
    typer.echo(f"{folder} is ready. To run it on its sample data: cd {folder} && matchlake demo")


def notebooks(
    out: Annotated[Path, typer.Option(help="folder for the .ipynb files")] = Path(
        ".lakehouse/notebooks"
    ),
) -> None:
    """Writes the notebooks in Jupyter's format; Databricks opens them as they are.

    For example: matchlake notebooks --out notebooks-jupyter
    """
    for path in write_jupyter(find_conf().parent / "notebooks", out):
        typer.echo(path)


def mlflow(
    port: Annotated[int | None, typer.Option(help="the port; default: a free one")] = None,
    env: Annotated[str, typer.Option(help="conf/ENV.yml over conf/base.yml")] = "local",
) -> None:
    """Serves the MLflow page of the local runs and models, until Ctrl-C.

    For example: matchlake mlflow --port 5000
    """
    config = load_config(env)
    serve_page(Tracker(config.tracking, config.lakehouse), port)
