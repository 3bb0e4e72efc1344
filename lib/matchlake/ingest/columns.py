"""The declaration of one column of a stream or of a lake file. Imports no Spark."""

from typing import Literal, Self

from pydantic import model_validator

from matchlake.errors import SchemaError
from matchlake.params import Params
from matchlake.schemas import check_name

ColumnType = Literal[
    "string", "int", "bigint", "double", "boolean", "timestamp", "date", "array<string>"
]
NUMBERS = ("int", "bigint", "double")
_MAX_EXACT = {"int": 2**31 - 1, "bigint": 2**53}
"""The greatest bound per type: a bound is a double, and above it integers are not exact."""


class ColumnParams(Params):
    """One declared column: its type, its source field, and the values that it allows."""

    type: ColumnType
    """A `string` also takes JSON integers, as their digits; a `timestamp` without a zone is UTC."""
    comment: str
    """The meaning of the column; becomes its comment in the table."""
    path: str | None = None
    """The source field, with dots between nested names; null: the column's own name."""
    required: bool = True
    """Whether a record without the field, or with null, is quarantined."""
    min: float | None = None
    """The smallest allowed number."""
    max: float | None = None
    """The largest allowed number."""
    one_of: tuple[str, ...] = ()
    """The allowed texts; empty: all."""
    epoch: Literal["s", "ms", "us"] | None = None
    """The unit of a timestamp that is a number since 1970; null: the timestamp is ISO 8601 text."""

    @model_validator(mode="after")
    def _validate_type(self) -> Self:
        if (self.min is not None or self.max is not None) and self.type not in NUMBERS:
            raise ValueError(
                f"min and max are allowed for {', '.join(NUMBERS)}, not for {self.type}"
            )
        largest = _MAX_EXACT.get(self.type)
        bounds = [bound for bound in (self.min, self.max) if bound is not None]
        if largest and not all(bound.is_integer() and abs(bound) <= largest for bound in bounds):
            raise ValueError(
                f"min and max of {self.type} must be whole numbers from -{largest} to {largest}"
            )
        if self.one_of and self.type != "string":
            raise ValueError(f"one_of is allowed for string, not for {self.type}")
        if self.epoch and self.type != "timestamp":
            raise ValueError(f"epoch is allowed for timestamp, not for {self.type}")
        return self


Columns = dict[str, ColumnParams]
"""The declared columns by name, in their order."""


def checked_name(name: str, parts: int) -> str:
    """The name, if it is valid; else raises ValueError, which pydantic reports with its key."""
    try:
        return check_name(name, parts)
    except SchemaError as error:
        raise ValueError(str(error)) from None
