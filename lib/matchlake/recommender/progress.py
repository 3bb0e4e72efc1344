"""What a fit tells of itself while it runs."""

from collections.abc import Callable
from typing import NamedTuple


class Report(NamedTuple):
    """What a state says: iterations done, the loss after the last, and seconds.

    `seconds` are those of each iteration since the cut before, where the schedule times them.
    """

    iteration: int
    loss: float
    seconds: tuple[float, ...] = ()


class Progress(NamedTuple):
    """Where a fit stands after a cut.

    `seconds` is the time of all iterations since the cut before: their sum where the schedule times
    them (`each` has the single ones), or else that of the whole stretch, with all that Spark does
    around it and the measurement. `loss` is the objective's value, NaN where it was not measured;
    `metric` the held-out measurement (RMSE, or recall at 20), or None without a held-out part.
    """

    iteration: int
    iterations: int
    seconds: float
    loss: float
    metric: float | None = None
    each: tuple[float, ...] = ()


OnProgress = Callable[[Progress], None]
