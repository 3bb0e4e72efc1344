"""The progress reports of a running fit."""

from collections.abc import Callable
from typing import NamedTuple


class Report(NamedTuple):
    """Iterations done, the loss after the last one, seconds, and the numbers of users and items.

    `seconds` holds one number per iteration since the last checkpoint, if the execution measures
    them.
    """

    iteration: int
    loss: float
    seconds: tuple[float, ...] = ()
    sizes: tuple[int, int] = (0, 0)


class Progress(NamedTuple):
    """The progress of a fit at a checkpoint.

    `seconds` is the time of all iterations since the last checkpoint. If the execution measures
    iterations, `each` has the time of each iteration, and `seconds` is their sum. Otherwise
    `seconds` includes Spark's own work and the validation. `loss` is the value of the objective,
    NaN if not measured. `metric` is the validation metric (RMSE, or recall at 20); None without a
    validation part.
    """

    iteration: int
    iterations: int
    seconds: float
    loss: float
    metric: float | None = None
    each: tuple[float, ...] = ()


ProgressCallback = Callable[[Progress], None]
