"""What a search tries next."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from matchlake.search.trial import Trial


class Proposal(NamedTuple):
    """The hyperparameters of a trial that has not run yet."""

    number: int
    values: Mapping[str, Any]


class Proposals(Protocol):
    """The order in which a space is searched. One thread calls it."""

    total: int
    """The number of trials of the whole search."""

    def ask(self) -> Proposal | None:
        """The next trial; None if there is none left."""

    def tell(self, trial: Trial) -> None:
        """Takes the result of a trial that was asked for."""

    def restore(self, trials: Sequence[Trial]) -> None:
        """Continues after the finished trials of an earlier run; called before the first `ask`."""
