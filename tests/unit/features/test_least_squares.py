"""The plain learner against NumPy's own least squares."""

import numpy as np
import pandas as pd

from matchlake.features.least_squares import least_squares


def test_least_squares_finds_the_line() -> None:
    rng = np.random.default_rng(3)
    rows = pd.DataFrame({"a": rng.normal(size=200), "b": rng.normal(size=200), "key": "x"})
    label = 2 * rows["a"] - rows["b"] + 3
    found = least_squares(rows, label)(rows)
    np.testing.assert_allclose(found, label, atol=1e-3)


def test_least_squares_dependent_columns_give_the_same_line() -> None:
    rows = pd.DataFrame({"one": [1.0, 0.0, 1.0, 0.0], "other": [0.0, 1.0, 0.0, 1.0]})
    found = least_squares(rows, pd.Series([1.0, 5.0, 3.0, 7.0]))(rows)
    np.testing.assert_allclose(found, [2, 6, 2, 6], atol=0.01)
