"""The bar that shows on a terminal how far a fit is."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
)

from matchlake.recommender.progress import Progress as FitProgress
from matchlake.recommender.progress import ProgressCallback


@contextmanager
def fit_bar(
    name: str, iterations: int, console: Console | None = None
) -> Iterator[ProgressCallback]:
    """Shows a bar on stderr while the context lasts, where that is a terminal.

    Yields what the fit is to call at every cut.
    """
    console = console or Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    more = (TextColumn("iterations"), TimeElapsedColumn(), TextColumn("{task.fields[told]}"))
    bar = Progress(*columns, *more, console=console, disable=not console.is_terminal)
    task = bar.add_task(name, total=iterations, told="")

    def show(progress: FitProgress) -> None:
        told = f"loss {progress.loss:.5g}"
        if progress.metric is not None:
            told += f", held out {progress.metric:.4f}"
        bar.update(task, completed=progress.iteration, told=told)

    with bar, _log_above_the_bar():
        yield show


@contextmanager
def _log_above_the_bar() -> Iterator[None]:
    """Log lines go through the stderr that the bar has put in place of the process's own."""
    handlers = [each for each in logging.root.handlers if type(each) is logging.StreamHandler]
    before = [each.setStream(sys.stderr) for each in handlers]
    try:
        yield
    finally:
        for each, stream in zip(handlers, before, strict=True):
            if stream is not None:
                each.setStream(stream)
