"""What a fit tells of itself while it runs."""

from collections.abc import Callable
from typing import NamedTuple


class Report(NamedTuple):
    """What a state says: iterations done, the loss after the last, seconds where it timed them."""

    iteration: int
    loss: float
    seconds: tuple[float, ...] = ()


class Progress(NamedTuple):
    """Where a fit stands after a cut.

    `seconds` is the time of the whole stretch since the cut before; `loss` the objective's value;
    `metric` the held-out measurement (RMSE, or recall at 20), or None without a held-out part;
    `each` the seconds of single iterations, where the schedule knows them.
    """

    iteration: int
    iterations: int
    seconds: float
    loss: float
    metric: float | None = None
    each: tuple[float, ...] = ()


OnProgress = Callable[[Progress], None]
