"""The result of a split, and the check that all splits share."""

from typing import TYPE_CHECKING, NamedTuple

from matchlake.errors import ParameterError

if TYPE_CHECKING:
    from pyspark.sql import DataFrame


class Split(NamedTuple):
    """The two parts, with the columns of the frame that was split; Spark's are lazy.

    The parts of a table of pandas, Polars or Arrow are tables of the same library.
    """

    train: "DataFrame"
    test: "DataFrame"


def check_fraction(test_fraction: float) -> None:
    """Raises ParameterError unless both parts can have rows."""
    if not 0 < test_fraction < 1:
        raise ParameterError(f"test_fraction is {test_fraction}; it must be above 0 and below 1.")
