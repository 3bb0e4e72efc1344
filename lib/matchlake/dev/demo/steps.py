"""The steps of a demo: one line each, with its time and what it wrote."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from matchlake.training.progress_bar import log_above_the_bar

_WIDTHS = 5, 31, 7


@dataclass
class Step:
    """A step that runs; `note` says what it did."""

    note: str = ""


@dataclass
class Steps:
    """Numbers the steps, shows a clock while one runs, and prints its line when it ends."""

    console: Console
    total: int
    verbose: bool = False
    """Whether the log of the jobs is shown; there is no clock then."""
    seconds: dict[str, float] = field(default_factory=dict)
    current: str = ""
    """The step that runs, or the last one."""

    @contextmanager
    def step(self, name: str, *, clock: bool = True) -> Iterator[Step]:
        """Runs a step. `clock=False` is for a step with its own progress bar."""
        self.current = name
        done, began = Step(), time.monotonic()
        shows = clock and not self.verbose and self.console.is_terminal
        with self._clock(name) if shows else nullcontext():
            yield done
        self.seconds[name] = time.monotonic() - began
        self._print_line(f"{len(self.seconds)}/{self.total}", name, done.note)

    def _print_line(self, number: str, name: str, note: str) -> None:
        grid = Table.grid(padding=(0, 1))
        for width, justify in zip(_WIDTHS, ("right", "left", "right"), strict=True):
            grid.add_column(width=width, justify=justify)  # type: ignore[arg-type]
        grid.add_column(overflow="fold")
        took = f"{self.seconds[name]:.1f} s"
        grid.add_row(Text(number, "dim"), Text(name, "bold"), Text(took, "cyan"), Text(note))
        self.console.print(grid)

    @contextmanager
    def _clock(self, name: str) -> Iterator[None]:
        columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
        with Progress(*columns, console=self.console, transient=True) as progress:
            progress.add_task(f"{len(self.seconds) + 1}/{self.total} {name}")
            with log_above_the_bar():
                yield


def log_level(*, verbose: bool) -> str:
    """The level of the jobs' log in a demo."""
    return logging.getLevelName(logging.INFO if verbose else logging.WARNING)
