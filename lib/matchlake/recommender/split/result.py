"""The result of a split, and a common check."""

from typing import TYPE_CHECKING, NamedTuple

from matchlake.errors import ParameterError

if TYPE_CHECKING:
    from pyspark.sql import DataFrame


class Split(NamedTuple):
    """The two parts, with the columns of the input; Spark frames are lazy.

    If the input is a table of pandas, Polars or Arrow, the parts are tables of the same library.
    """

    train: "DataFrame"
    test: "DataFrame"


def check_fraction(test_fraction: float) -> None:
    """Raises ParameterError unless both parts can have rows."""
    if not 0 < test_fraction < 1:
        raise ParameterError(f"test_fraction is {test_fraction}; it must be above 0 and below 1.")
