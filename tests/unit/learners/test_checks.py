"""Rows that a learner cannot take are refused with the names of their columns."""

import numpy as np
import pytest

from matchlake.errors import InputError
from matchlake.learners.checks import check_digits
from matchlake.learners.protocol import TrainingData

RANDOM = np.random.default_rng(0)
COLUMNS = ("seconds", "milliseconds", "constant", "tiny")
OFFSETS = np.array([1.7e9, 1.7e12, 1e30, 0.0])


def test_digits_that_32_bits_lose_are_refused() -> None:
    matrix = OFFSETS + RANDOM.normal(size=(200, 4)) * [1e5, 1e5, 0.0, 1e-30]
    label = RANDOM.normal(size=200)
    check_digits(TrainingData(matrix[:, [0, 2, 3]], ("a", "b", "c"), label), "regression", "torch")
    with pytest.raises(InputError, match=r"within these columns: milliseconds\."):
        check_digits(TrainingData(matrix, COLUMNS, label), "regression", "torch")
    for moved in (label + 1e12, label * 1e200):
        rows = TrainingData(matrix[:, :1], COLUMNS[:1], moved)
        with pytest.raises(InputError, match="within these columns: the label"):
            check_digits(rows, "regression", "torch")
