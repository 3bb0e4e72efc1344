"""What the scores of features are computed from: counts and centred sums, whatever the engine.

Numbers are shifted and scaled by a power of two before they are summed. The scores do not depend on
either, and squares of values such as 1e12 + x or 1e-300 then keep their digits.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

Doubles = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]

Measure = Literal["class_moments", "group_moments", "co_moments", "ranks", "cells", "presence"]
"""`class_moments`: of a number in each class. `group_moments`: of a label of numbers in each
category. `co_moments`: of a number and the label; `ranks`: of their ranks. `cells`: counts of a
category and a class. `presence`: rows with a value."""

_LARGEST_EXPONENT = 1000


@dataclass(frozen=True)
class Moments:
    """The number of rows, the mean, and the sum of squared deviations from it, of each group."""

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
"""The statistics of a column; a text says why there are none."""


class Source(Protocol):
    """A table from which statistics are taken."""

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

        Columns in `bins` are cut into so many groups at their quantiles. Of a column with more
        than `max_categories` categories a text says so.
        """

    def correlations(self, names: Sequence[str]) -> Doubles:
        """The correlation of each pair of columns of numbers, over rows where both have a value.

        NaN for a pair of which one has no two different values.
        """


@dataclass(frozen=True)
class Scale:
    """`x * factor - shift`: a column around 0 with values of about 1."""

    factor: float = 1.0
    shift: float = 0.0


def scale_of(values: Doubles) -> Scale:
    """The scale of a column from some of its finite values: their median becomes 0."""
    if not len(values):
        return Scale()
    middle = float(np.sort(values)[len(values) // 2])
    # Halves, because a difference of two numbers may be larger than the largest number.
    largest = 2 * float(np.abs(values / 2 - middle / 2).max()) or abs(middle)
    if largest == 0:
        return Scale()
    exponent = int(np.clip(np.frexp(min(largest, 1.7e308))[1], -_LARGEST_EXPONENT, 1023))
    factor = float(np.ldexp(1.0, -exponent))
    return Scale(factor, middle * factor)
