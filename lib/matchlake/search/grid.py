"""A grid: every combination of a space once."""

from collections.abc import Sequence

from matchlake.errors import ParameterError
from matchlake.search.proposals import Proposal
from matchlake.search.space import Space, grid_of
from matchlake.search.trial import Trial


class GridProposals:
    """Every combination of a space once, in a fixed order; the number of a trial is its place."""

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
        """A grid does not depend on results."""

    def restore(self, trials: Sequence[Trial]) -> None:
        """Leaves out the combinations that have run."""
        done = {each.number for each in trials}
        self._waiting = [number for number in range(self.total) if number not in done]
