import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from tests.support import baseline_oracles

from matchlake.engine.csr import Csr
from matchlake.recommender.baselines.ease import ease_weights
from matchlake.recommender.baselines.item_knn import item_cosines
from matchlake.recommender.baselines.kernels import largest

# Few distinct values, so that ties and empty rows and columns are the rule.
STRENGTHS = arrays(
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


def dense(rows: Csr) -> np.ndarray:
    matrix = np.zeros((rows.rows, rows.width))
    for row in range(rows.rows):
        part = slice(rows.indptr[row], rows.indptr[row + 1])
        matrix[row, rows.columns[part]] = rows.values[part]
    return matrix


@given(
    st.lists(st.tuples(st.sampled_from([-1.5, 0.0, 0.25, 3.0]), st.booleans()), max_size=60),
    st.integers(1, 70),
)
@settings(deadline=None, max_examples=300)
def test_largest_is_a_sort_cut_short(entries: list[tuple[float, bool]], k: int) -> None:
    values = np.array([value for value, _ in entries], np.float32)
    chosen = np.array([flag for _, flag in entries], np.bool_)
    among = [place for place in range(len(entries)) if chosen[place]]
    want = baseline_oracles.best(values.astype(float), k, among=among)
    assert largest(values, chosen, k).tolist() == want


@given(STRENGTHS, st.integers(1, 6), st.sampled_from([0.0, 0.5, 10.0]))
@settings(deadline=None, max_examples=100)
def test_cosines_are_those_of_the_dense_matrix(
    strengths: np.ndarray, neighbours: int, shrinkage: float
) -> None:
    got = dense(item_cosines(csr(strengths), neighbours, shrinkage))
    want = baseline_oracles.cosine_weights(strengths.astype(float), neighbours, shrinkage)
    np.testing.assert_allclose(got, want, rtol=1e-6)


@given(STRENGTHS, st.sampled_from([0.5, 3.0]))
@settings(deadline=None, max_examples=100)
def test_ease_is_one_ridge_regression_an_item(strengths: np.ndarray, regularization: float) -> None:
    got = ease_weights(csr(strengths), regularization)
    want = baseline_oracles.ease_weights(strengths.astype(float), regularization)
    np.testing.assert_allclose(got, want, atol=1e-5)


def test_a_cosine_by_hand() -> None:
    # Items a, b, c of users (1 1 0), (1 0 0), (2 0 1): a.b = 1, a.c = 2, |a| = sqrt 6.
    rows = csr(np.array([[1, 1, 0], [1, 0, 0], [2, 0, 1]], np.float32))
    got = dense(item_cosines(rows, 1, 0.0))
    root = 6**0.5
    # Each keeps one neighbour: a takes c (2 / root 6), b and c take a.
    np.testing.assert_allclose(
        got, [[0, 1 / root, 2 / root], [0, 0, 0], [2 / root, 0, 0]], rtol=1e-6
    )


def test_ease_by_hand() -> None:
    # Two items always together, n times: G = [[n + r, n], [n, n + r]], weight = n / (n + r).
    got = ease_weights(csr(np.ones((4, 2), np.float32)), 2.0)
    assert got == pytest.approx(np.array([[0, 4 / 6], [4 / 6, 0]]))
