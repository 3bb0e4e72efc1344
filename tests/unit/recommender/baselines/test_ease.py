import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from tests.support import baseline_oracles

from matchlake.engine.csr import Csr
from matchlake.recommender.baselines.ease_task import ease_weights

# Few distinct values, so that ties and empty rows and columns are the rule.
VALUES = arrays(
    np.float32,
    st.tuples(st.integers(1, 8), st.integers(2, 7)),
    elements=st.sampled_from([0, 0, 1, 2]),
)


def csr(dense: np.ndarray) -> Csr:
    rows, columns = np.nonzero(dense)
    bounds = np.searchsorted(rows, np.arange(len(dense) + 1))
    return Csr(
        bounds.astype(np.int64), columns.astype(np.int32), dense[rows, columns], dense.shape[1]
    )


@given(VALUES, st.sampled_from([0.5, 3.0]))
@settings(deadline=None, max_examples=100)
def test_ease_weights_of_random_values_are_one_ridge_regression_per_item(
    values: np.ndarray, regularization: float
) -> None:
    found = ease_weights(csr(values), regularization)
    expected = baseline_oracles.ease_weights(values.astype(float), regularization)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_ease_weights_of_two_items_always_together_are_n_over_n_plus_r() -> None:
    # Together n times: G = [[n + r, n], [n, n + r]], weight = n / (n + r).
    found = ease_weights(csr(np.ones((4, 2), np.float32)), 2.0)
    assert found == pytest.approx(np.array([[0, 4 / 6], [4 / 6, 0]]))
