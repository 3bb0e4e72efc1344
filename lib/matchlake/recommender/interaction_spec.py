"""The rules for the interactions of a fit, as plain values."""

from typing import Literal, NamedTuple

Duplicates = Literal["error", "last", "sum", "mean"]


class InteractionSpec(NamedTuple):
    """The value column of a fit, and the rules for its rows."""

    value_column: str = "rating"
    """The column that is fitted."""
    nonnegative: bool = False
    """Whether values below 0 are invalid."""
    centered: bool = True
    """Whether the fit subtracts the mean. If so, interactions with only equal values are
    refused."""
    duplicates: Duplicates = "error"
    """How several rows of one (user, item) are merged; see `AlsParams.duplicates`."""

    @property
    def requirement(self) -> str:
        """Returns the rule for each interaction, for error messages."""
        return (
            f"Ids must not be null and {self.value_column} must be a finite number"
            f"{' of at least 0' if self.nonnegative else ''}: filter or fix these rows."
        )
