"""A progress bar for fits on a terminal."""

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

_log = logging.getLogger(__name__)


@contextmanager
def fit_bar(
    name: str, iterations: int, console: Console | None = None
) -> Iterator[ProgressCallback]:
    """Shows a bar on stderr during the context, if stderr is a terminal and INFO is logged.

    Yields the callback of the fit.
    """
    console = console or Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    more = (TextColumn("iterations"), TimeElapsedColumn(), TextColumn("{task.fields[status]}"))
    is_shown = console.is_terminal and _log.isEnabledFor(logging.INFO)
    bar = Progress(*columns, *more, console=console, transient=True, disable=not is_shown)
    task = bar.add_task(name, total=iterations, status="")

    def show(progress: FitProgress) -> None:
        status = f"loss {progress.loss:.5g}"
        if progress.metric is not None:
            status += f", validation {progress.metric:.4f}"
        bar.update(task, completed=progress.iteration, status=status)

    with bar, log_above_the_bar():
        yield show


@contextmanager
def log_above_the_bar() -> Iterator[None]:
    """Sends log lines through the stderr of the bar while it is shown."""
    handlers = [each for each in logging.root.handlers if type(each) is logging.StreamHandler]
    before = [each.setStream(sys.stderr) for each in handlers]
    try:
        yield
    finally:
        for each, stream in zip(handlers, before, strict=True):
            if stream is not None:
                each.setStream(stream)
