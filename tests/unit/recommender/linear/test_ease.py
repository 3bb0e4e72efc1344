import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from tests.support import baseline_oracles

from matchlake.engine.csr import Csr
from matchlake.recommender.linear.ease_task import ease_weights
from matchlake.recommender.linear.params import EaseParams

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
    found = ease_weights(csr(values), EaseParams(regularization=regularization))
    expected = baseline_oracles.ease_weights(values.astype(float), regularization)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_ease_weights_of_two_items_always_together_are_n_over_n_plus_r() -> None:
    # Together n times: G = [[n + r, n], [n, n + r]], weight = n / (n + r).
    found = ease_weights(csr(np.ones((4, 2), np.float32)), EaseParams(regularization=2.0))
    assert found == pytest.approx(np.array([[0, 4 / 6], [4 / 6, 0]]))


@given(VALUES, st.sampled_from([0.2, 0.7]))
@settings(deadline=None, max_examples=50)
def test_ease_weights_with_dropout_are_the_mean_over_histories_with_hidden_items(
    values: np.ndarray, dropout: float
) -> None:
    # The expected squared error over dropout is a ridge of dropout / (1 - dropout) * diag(G).
    dense = values.astype(float)
    penalties = 3.0 + dropout / (1 - dropout) * np.square(dense).sum(axis=0)
    found = ease_weights(csr(values), EaseParams(regularization=3.0, dropout=dropout))
    expected = baseline_oracles.ease_weights(dense, penalties)
    np.testing.assert_allclose(found, expected, atol=1e-5)


@given(VALUES, st.sampled_from([0.1, 0.4, 0.9]), st.sampled_from([0.0, 0.5]))
@settings(deadline=None, max_examples=100)
def test_ease_weights_with_a_self_weight_are_optimal_under_its_bound(
    values: np.ndarray, most: float, dropout: float
) -> None:
    # Optimal in a convex problem: the gradient is 0, but on the diagonal of items at the bound it
    # may be negative, as only a larger self weight would lower the loss.
    params = EaseParams(regularization=2.0, dropout=dropout, max_self_weight=most)
    dense = values.astype(float)
    gram = dense.T @ dense
    penalties = 2.0 + dropout / (1 - dropout) * gram.diagonal()
    weights = ease_weights(csr(values), params).astype(float)
    gradient = gram @ weights - gram + penalties[:, None] * weights
    own, slope = weights.diagonal(), gradient.diagonal().copy()
    np.fill_diagonal(gradient, 0.0)
    np.testing.assert_allclose(gradient, 0.0, atol=1e-4)
    assert (own <= most + 1e-6).all()
    assert (slope <= 1e-4).all()
    assert (np.abs(slope[own < most - 1e-5]) <= 1e-4).all()
