"""`matchlake demo`, `matchlake notebooks` and `matchlake mlflow`."""

import signal
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from matchlake.config import find_conf, load_config
from matchlake.dev.demo import run_demo
from matchlake.dev.notebooks import write_jupyter
from matchlake.dev.sandbox.tracking_page import serve_page
from matchlake.io.mlflow_tracking import Tracker


def demo(
    ratings: Annotated[
        int | None, typer.Option(min=1, help="how many ratings to use; default: all")
    ] = None,
    movielens: Annotated[
        Path | None, typer.Option(help="folder of a MovieLens set: ml-1m, ml-latest, ml-20m, ...")
    ] = None,
) -> None:
    """Runs the whole product on MovieLens-100K: broker, tables, features, model, SQL.

    For example: matchlake demo --ratings 20000
    """
    for number in (signal.SIGTERM, signal.SIGHUP):  # a closed terminal leaves no broker behind
        signal.signal(number, lambda received, _: sys.exit(128 + received))
    run_demo(Console(), ratings, movielens)


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
