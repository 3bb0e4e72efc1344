"""Decides when to stop a fit early, from its validation measurements."""

import math
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from matchlake.recommender.als.params import AlsParams

LIST_LENGTH = 20
"""The length of the lists whose recall an implicit fit measures."""

State = TypeVar("State")


@dataclass
class EarlyStopping(Generic[State]):
    """Keeps the best state of a fit.

    The metric of an explicit fit is RMSE; smaller is better. The metric of an implicit fit is
    recall: the fraction of the validation pairs among the user's 20 best items, without trained
    items.
    """

    params: AlsParams
    _regret: float = math.inf
    _best: State | None = None
    _worse: int = field(default=0)

    @property
    def spent(self) -> bool:
        """Returns whether the last `patience` measurements brought no improvement."""
        return self.params.patience is not None and self._worse >= self.params.patience

    def note(self, metric: float, state: State) -> None:
        """Records a measurement, and keeps `state` if it is the best so far."""
        regret = metric if self.params.feedback == "explicit" else -metric
        self._worse = 0 if regret < self._regret else self._worse + 1
        if regret < self._regret:
            self._regret, self._best = regret, state

    def best_state(self, last: State) -> State:
        """Returns the final state: with `patience` the best measured state, otherwise the last."""
        return last if self.params.patience is None or self._best is None else self._best
