import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.linear_model import ElasticNet

from matchlake.engine.csr import Csr
from matchlake.errors import InputError
from matchlake.recommender.linear import slim_kernels, slim_solver
from matchlake.recommender.linear.pairs import pack_rows
from matchlake.recommender.linear.params import SlimParams
from matchlake.recommender.linear.slim import fit_slim
from matchlake.recommender.linear.slim_solver import Columns, slim_weights
from matchlake.recommender.linear.slim_task import DATA, Number, Solve

SHAPES = st.tuples(st.integers(1, 9), st.integers(2, 7))
COUNTS = arrays(np.float32, SHAPES, elements=st.sampled_from([0, 0, 1, 2]))
SIGNED = arrays(np.float32, SHAPES, elements=st.sampled_from([0, 0, 1, 2, -1]))


def csr(dense: np.ndarray) -> Csr:
    rows, columns = np.nonzero(dense)
    bounds = np.searchsorted(rows, np.arange(len(dense) + 1))
    values = dense[rows, columns].astype(np.float32)
    return Csr(bounds.astype(np.int64), columns.astype(np.int32), values, dense.shape[1])


def dense(found: Columns, size: int) -> np.ndarray:
    """Row j holds the weights from item j to every target."""
    weights = np.zeros((size, len(found.indptr) - 1))
    targets = np.repeat(np.arange(weights.shape[1]), np.diff(found.indptr))
    weights[found.sources, targets] = found.weights
    return weights


def solve(values: np.ndarray, params: SlimParams, threads: int = 1) -> np.ndarray:
    targets = np.arange(values.shape[1], dtype=np.int32)
    return dense(slim_weights(csr(values), params, targets, threads), values.shape[1])


def choices(**given: object) -> SlimParams:
    return SlimParams.model_validate({"tolerance": 1e-6, "max_iterations": 10_000, **given})


def drawn(users: int, items: int, share: float) -> np.ndarray:
    rng = np.random.default_rng(5)
    taste = rng.random((6, items)) ** 3
    chance = taste[rng.integers(6, size=users)]
    return (rng.random((users, items)) < share * chance / chance.mean()).astype(np.float32)


@pytest.mark.parametrize("nonnegative", [True, False])
@given(values=st.one_of(COUNTS, SIGNED), l1=st.sampled_from([0.0, 0.7, 2.0]))
@settings(deadline=None, max_examples=100)
def test_weights_of_random_values_are_optimal(
    *, nonnegative: bool, values: np.ndarray, l1: float
) -> None:
    # The problem is convex: weights are optimal if no other ones have a lower loss nearby.
    params = choices(l1_regularization=l1, l2_regularization=1.5, nonnegative=nonnegative)
    weights, exact = solve(values, params), values.astype(float)
    slope = exact.T @ (exact - exact @ weights) - 1.5 * weights
    assert (weights.diagonal() == 0).all()
    np.fill_diagonal(slope, 0.0)
    used = weights != 0
    np.testing.assert_allclose(slope[used], l1 * np.sign(weights[used]), atol=1e-3)
    assert (slope[~used] <= l1 + 1e-3).all()
    assert (weights >= 0).all() if nonnegative else (slope[~used] >= -l1 - 1e-3).all()


@pytest.mark.parametrize("nonnegative", [True, False])
def test_weights_are_those_of_scikit_learn(*, nonnegative: bool) -> None:
    values, l1, l2 = drawn(60, 12, 0.3), 1.0, 4.0
    params = choices(l1_regularization=l1, l2_regularization=l2, nonnegative=nonnegative)
    found = solve(values, params)
    alpha = (l1 + l2) / len(values)
    for item in range(values.shape[1]):
        peer = ElasticNet(
            alpha=alpha,
            l1_ratio=l1 / (l1 + l2),
            positive=nonnegative,
            fit_intercept=False,
            tol=1e-10,
            max_iter=100_000,
        )
        others = values.astype(float)
        others[:, item] = 0
        peer.fit(others, values[:, item])
        np.testing.assert_allclose(found[:, item], peer.coef_, atol=1e-5)
    assert 0 < np.count_nonzero(found) < found.size * 0.8


def test_weights_of_many_items_are_optimal_within_the_default_iterations() -> None:
    values = drawn(300, 200, 0.3)
    params = SlimParams(l1_regularization=0.5, l2_regularization=2.0, tolerance=1e-5)
    weights, exact = solve(values, params), values.astype(float)
    slope = exact.T @ (exact - exact @ weights) - 2.0 * weights
    np.fill_diagonal(slope, 0.0)
    # No step is above the tolerance; a step is the slope by the sum of squares and the penalty.
    allowed = 2e-5 * (np.square(exact).sum(axis=0) + 2.0)[:, None] + 1e-4
    used = weights != 0
    assert ((exact.T @ exact) > 0.5).sum(axis=0).max() > 2 * slim_kernels._FIRST
    assert (np.abs(slope - 0.5)[used] <= np.broadcast_to(allowed, slope.shape)[used]).all()
    assert (slope[~used] <= 0.5 + np.broadcast_to(allowed, slope.shape)[~used]).all()


def test_weights_of_two_items_always_together_are_known() -> None:
    # Together n times: the weight is (n - l1) / (n + l2), and 0 from n = l1 on down.
    params = choices(l1_regularization=1.0, l2_regularization=2.0)
    assert solve(np.ones((4, 2)), params) == pytest.approx(np.array([[0, 3 / 6], [3 / 6, 0]]))
    assert not solve(np.ones((1, 2)), params).any()


@pytest.mark.parametrize("nonnegative", [True, False])
def test_weights_are_equal_for_any_memory_threads_and_company(
    monkeypatch: pytest.MonkeyPatch, *, nonnegative: bool
) -> None:
    monkeypatch.setattr(slim_solver, "_WORTH_KEEPING", 100)
    values = drawn(300, 200, 0.2) * np.float32(1.1)
    whole = choices(l1_regularization=0.5, l2_regularization=3.0, nonnegative=nonnegative)
    every = np.arange(200, dtype=np.int32)
    kept = slim_weights(csr(values), whole, every, 1)
    for other, threads in ((whole, 3), (whole.model_copy(update={"memory_mb": 0}), 1)):
        for one, two in zip(kept, slim_weights(csr(values), other, every, threads), strict=True):
            np.testing.assert_array_equal(one, two)
    some = slim_weights(csr(values), whole, every[7:150:13], 1)
    expected = dense(kept, 200)[:, 7:150:13]
    np.testing.assert_array_equal(dense(some, 200), expected)
    assert np.count_nonzero(expected) > 200


def test_a_model_answers_from_a_table() -> None:
    rows = pd.DataFrame({"user_id": list("aabbccd"), "item_id": [1, 2, 1, 2, 2, 3, 1]})
    params = choices(l1_regularization=0.5, l2_regularization=1.0)
    model = fit_slim(rows, params)
    # Items 1 and 2 have 2 users in common: of 1 there are 3, of 2 there are 3; 2 and 3 have 1.
    weight = (2 - 0.5) / (3 + 1)
    assert model.score(["d"], [2]) == pytest.approx([weight])
    assert model.recommend_items("d", 1, exclude_seen=[1])[0][0] == 2
    folded = model.fold_in(users={"new": {2: 5.0}})  # without a value column each item counts 1
    assert folded.score(["new"], [1]) == pytest.approx([weight])
    assert model.explain(2, {1: 1.0, 99: 1.0}) == [(1, pytest.approx(weight))]
    with pytest.raises(KeyError):
        model.explain(99, {1: 1.0})


def test_bad_input_is_refused() -> None:
    rows = pd.DataFrame({"user_id": ["a", "b"], "item_id": [1, 2], "count": [1.0, np.inf]})
    with pytest.raises(InputError, match="cannot be fitted"):
        fit_slim(rows, SlimParams(value_column="count"))
    with pytest.raises(InputError, match="no interactions"):
        fit_slim(rows.head(0))


@pytest.mark.parametrize("tasks", [1, 3])
def test_the_tasks_of_spark_give_the_weights_of_a_table(tasks: int) -> None:
    values = drawn(80, 40, 0.3)
    users, items = np.nonzero(values)
    rows = pd.DataFrame({"user_id": users, "item_id": [f"i{n:02d}" for n in items]})
    params = choices(l1_regularization=0.5, l2_regularization=2.0)
    packed, _ = pack_rows(rows, None)
    state = pa.Table.from_batches(list(Number()(iter(packed.to_batches()))))
    pieces = state.filter(pc.equal(state["side"], DATA))
    found = []
    for task in range(tasks):
        mine = state.filter(pc.equal(state["side"], 1)).take(pa.array(range(39 - task, -1, -tasks)))
        both = pa.concat_tables(
            [
                routed(pieces, 0, pa.nulls(len(pieces), pa.string())),
                routed(mine, 2, mine["item_id"]),
            ]
        )
        found += list(Solve(params)(iter(both.to_batches(max_chunksize=7))))
    table = pa.Table.from_batches(found).sort_by("idx")
    assert table["query"].to_pylist() == sorted(set(rows["item_id"]))
    expected = slim_weights(csr(values), params, np.arange(40, dtype=np.int32), 1)
    np.testing.assert_array_equal(table["weights"].combine_chunks().flatten(), expected.weights)
    np.testing.assert_array_equal(table["sources"].combine_chunks().flatten(), expected.sources)


def routed(rows: pa.Table, kind: int, query: pa.Array) -> pa.Table:
    """Rows as `PartitionPlan.assemble` gives them to a task."""
    columns = {"kind": pa.array([kind] * len(rows), pa.int32()), "query": query}
    columns |= {"target": pa.nulls(len(rows), pa.int32())}
    return pa.table(columns | {n: rows[n] for n in ("idx", "n_interactions", "data")})
