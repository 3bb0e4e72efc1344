"""Proposes the trials of a search: every combination of a grid, or Optuna's proposals."""

from collections.abc import Sequence
from typing import Protocol

from matchlake.errors import ParameterError
from matchlake.search.params import SearchParams
from matchlake.search.space import Space, grid_of
from matchlake.search.trial import Proposal, Trial


class Proposals(Protocol):
    """Proposes the next trial of a search. Only one thread calls its methods."""

    total: int
    """The number of trials of the whole search."""

    def ask(self) -> Proposal | None:
        """The next trial; None if there is none left."""

    def tell(self, trial: Trial) -> None:
        """Takes the result of a trial that `ask` returned."""

    def restore(self, trials: Sequence[Trial]) -> None:
        """Continues after the finished trials of an earlier run; called before the first `ask`."""


class GridProposals:
    """Every combination of a space once, in a fixed order; a trial's number is its position."""

    def __init__(self, space: Space, trials: int | None = None) -> None:
        self._combinations = grid_of(space)
        self.total = len(self._combinations)
        if trials is not None and trials < self.total:
            raise ParameterError(
                f"The grid has {self.total:,} combinations, and search.trials allows {trials:,}. "
                "Raise trials or leave it out, or choose the kind random."
            )
        self._waiting = list(range(self.total))

    def ask(self) -> Proposal | None:
        """The next combination; None after the last one."""
        if not self._waiting:
            return None
        number = self._waiting.pop(0)
        return Proposal(number, self._combinations[number])

    def tell(self, trial: Trial) -> None:
        """Does nothing: a grid does not depend on results."""

    def restore(self, trials: Sequence[Trial]) -> None:
        """Leaves out the combinations that have run."""
        done = {each.number for each in trials}
        self._waiting = [number for number in range(self.total) if number not in done]


def check_grid(space: Space, params: SearchParams) -> None:
    """Raises ParameterError for an impossible grid; other kinds are always possible."""
    if params.kind == "grid":
        GridProposals(space, params.trials)


def proposals_of(space: Space, params: SearchParams, *, maximize: bool) -> Proposals:
    """Returns the proposals of the kind in `params`.

    Raises ParameterError for a grid with a continuous range or with too many combinations, and if
    Optuna is needed but not installed.
    """
    if params.kind == "grid":
        return GridProposals(space, params.trials)
    try:
        from matchlake.search.optuna_study import OptunaProposals  # noqa: PLC0415 - an extra
    except ModuleNotFoundError as error:
        if error.name != "optuna":
            raise
        raise ParameterError(
            f"search.kind {params.kind} needs Optuna, which is not installed. Install the extra: "
            "pip install 'matchlake[search]'. The kind grid works without it."
        ) from None
    return OptunaProposals(space, params, maximize=maximize)
