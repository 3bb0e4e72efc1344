"""The statistics behind the scores of features: counts and centred sums, in any engine.

Numbers are shifted and scaled by a power of two before they are summed. The scores do not depend on
shift and scale. Squares of values such as 1e12 + x or 1e-300 then keep their digits.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

Doubles = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]

Measure = Literal["class_moments", "group_moments", "co_moments", "ranks", "cells", "presence"]
"""`class_moments`: moments of a number in each class. `group_moments`: moments of a numeric label
in each category. `co_moments`: co-moments of a number and the label. `ranks`: co-moments of their
ranks. `cells`: rows by category and class. `presence`: rows with a value."""

_LARGEST_EXPONENT = 1000


@dataclass(frozen=True)
class Moments:
    """For each group: the number of rows, the mean, and the sum of squared deviations."""

    count: Doubles
    mean: Doubles
    squares: Doubles


@dataclass(frozen=True)
class CoMoments:
    """Sums of squares and of products of the deviations of a column and of the label."""

    count: float
    column: float
    label: float
    product: float


@dataclass(frozen=True)
class Cells:
    """The counts of a table of categories and classes, without empty cells.

    Categories and classes are numbered from 0, without a gap.
    """

    category: Counts
    label: Counts
    count: Doubles


Found = Moments | CoMoments | Cells | int | str
"""The statistics of a column; a string is the reason why there are none."""


class Source(Protocol):
    """A table that can compute statistics of its columns."""

    @property
    def types(self) -> Mapping[str, str]:
        """The type of each column, as Spark names it."""

    def statistics(
        self,
        label: str,
        measures: Mapping[str, Measure],
        bins: Mapping[str, int],
        max_categories: int,
    ) -> dict[str, Found]:
        """The statistics of each column that `measures` names, over the rows with a label.

        `bins` has the number of quantile bins of a column. A column with more than `max_categories`
        categories gets a string with the reason.
        """

    def correlations(self, names: Sequence[str]) -> Doubles:
        """The correlation of each pair of columns of numbers, over rows where both have a value.

        A pair is NaN if one of its columns is constant.
        """


@dataclass(frozen=True)
class Scale:
    """`x * factor - shift`: a column around 0 with values of about 1."""

    factor: float = 1.0
    shift: float = 0.0


def scale_of(values: Doubles) -> Scale:
    """Returns the scale of a column from some of its finite values; their median becomes 0."""
    if not len(values):
        return Scale()
    middle = float(np.sort(values)[len(values) // 2])
    # Halves avoid an overflow of the difference.
    largest = 2 * float(np.abs(values / 2 - middle / 2).max()) or abs(middle)
    if largest == 0:
        return Scale()
    exponent = int(np.clip(np.frexp(min(largest, 1.7e308))[1], -_LARGEST_EXPONENT, 1023))
    factor = float(np.ldexp(1.0, -exponent))
    return Scale(factor, middle * factor)
