"""Parameters of ranking metrics."""

from typing import Annotated, Literal

from pydantic import Field, field_validator

from matchlake.params import Params
from matchlake.schemas import RATING


class RankingParams(Params):
    """How ranked lists are evaluated."""

    ks: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1)] = (10,)
    """The lengths to which lists are truncated; all are measured in one pass."""
    relevant_from: float | None = None
    """A true item is relevant if `gain_column` is at least this; null: all true items are
    relevant."""
    gain: Literal["binary", "linear", "exponential"] = "binary"
    """The gain of an item in NDCG: 1 if relevant; its value v; or 2^v - 1. Graded gains count
    every true item, relevant or not; a null or negative gain counts as 0."""
    gain_column: str = RATING
    """Column of the truth with the value of an item; not read if all true items are equally
    relevant."""

    @field_validator("ks")
    @classmethod
    def _each_once(cls, ks: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(sorted(set(ks)))

    @property
    def reads_value(self) -> bool:
        """Whether the truth needs its `gain_column`."""
        return self.gain != "binary" or self.relevant_from is not None
