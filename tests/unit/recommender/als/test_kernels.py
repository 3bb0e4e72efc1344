"""The row solvers and the in-memory fit against dense NumPy."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import nnls
from tests.support.als_oracle import Problem, fixed, objective, solve_side

from matchlake.engine.cholesky import factorize, rank_update, substitute
from matchlake.engine.csr import Csr, csr_from_pairs
from matchlake.engine.simd import LANES
from matchlake.recommender.als.in_memory import Fitted, fit_rows, initial_rows
from matchlake.recommender.als.params import AlsParams

KINDS = [
    {"feedback": "explicit"},
    {"feedback": "explicit", "biases": False, "nu": 0.0},
    {"feedback": "implicit", "alpha": 2.0},
    {"feedback": "implicit", "objective": "hu_koren", "alpha": 3.0, "nu": 0.0},
    {"feedback": "implicit", "objective": "hu_koren", "alpha": 3.0, "nu": 1.0},
    {"feedback": "implicit", "unobserved_weight": 0.0, "nu": 0.5},
]


def random_problem(
    params: AlsParams, shape: tuple[int, int], density: float, seed: int = 0
) -> tuple[Problem, Csr]:
    rng = np.random.default_rng(seed)
    seen = rng.random(shape) < density
    values = np.where(seen, rng.integers(1, 6, shape), 0).astype(float)
    problem = Problem(values, seen, params)
    seen[0, 0], values[0, 0] = True, max(values[0, 0], 1.0)
    rows, columns = np.nonzero(seen)
    centred = problem.centred()[rows, columns].astype(np.float32)
    order = rng.permutation(len(rows))
    rows, columns = rows.astype(np.int32)[order], columns.astype(np.int32)[order]
    return problem, csr_from_pairs(rows, columns, centred[order], shape)


def split(matrix: np.ndarray, params: AlsParams) -> tuple[np.ndarray, np.ndarray]:
    bias = matrix[:, params.rank] if params.has_bias else np.zeros(len(matrix))
    return matrix[:, : params.rank].astype(float), bias.astype(float)


def start(shape: tuple[int, int], params: AlsParams) -> Fitted:
    return Fitted(*(initial_rows(side, np.arange(shape[side]), params) for side in (0, 1)))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rank", [1, 7, 16, 33])
def test_exact_fit_is_the_oracles(kind: dict[str, object], rank: int) -> None:
    params = fixed(**kind, rank=rank, iterations=3, solver="cholesky", regularization=0.1)
    shape = (30, 20)
    problem, csr = random_problem(params, shape, 0.3)
    fitted = start(shape, params)
    items = split(fitted.items, params)
    fit_rows(csr, params, fitted)
    for _ in range(3):
        users = solve_side(problem, *items)
        items = solve_side(problem.transposed(), *users)
    assert np.allclose(
        split(fitted.users, params)[0] @ split(fitted.items, params)[0].T,
        users[0] @ items[0].T,
        atol=2e-3,
    )
    assert np.allclose(split(fitted.items, params)[1], items[1], atol=1e-3)
    assert fitted.loss == pytest.approx(objective(problem, users, items), rel=1e-4)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("solver", [{"solver": "cg", "cg_steps": 60}, {"solver": "blocks"}])
def test_other_solvers_reach_the_exact_objective(
    kind: dict[str, object], solver: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("matchlake.recommender.als.solver.BLOCK_SIZE", LANES)
    shape, common = (40, 25), {"rank": 40, "regularization": 0.1, "seed": 3}
    params = fixed(**kind, **common, **solver, iterations=30)
    problem, csr = random_problem(params, shape, 0.4)
    fitted = fit_rows(csr, params)
    exact = fit_rows(csr, fixed(**kind, **common, solver="cholesky", iterations=30))
    found = objective(problem, split(fitted.users, params), split(fitted.items, params))
    assert fitted.loss == pytest.approx(found, rel=1e-4)
    assert fitted.loss < 1.02 * exact.loss


@settings(deadline=None, max_examples=60)
@given(
    shape=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    chosen=st.fixed_dictionaries(
        {
            "rank": st.integers(1, 20),
            "solver": st.sampled_from(["cholesky", "cg", "blocks"]),
            "regularization": st.sampled_from([0.0, 0.01, 1.0]),
        }
    ),
    density=st.sampled_from([0.05, 0.3, 1.0]),
    kind=st.sampled_from(KINDS),
    seed=st.integers(0, 1000),
)
def test_any_sparse_matrix_gives_finite_rows_and_a_loss_that_never_grows(
    shape: tuple[int, int],
    chosen: dict[str, object],
    density: float,
    kind: dict[str, object],
    seed: int,
) -> None:
    params = fixed(**kind, **chosen)
    problem, csr = random_problem(params, shape, density, seed)
    step = params.model_copy(update={"iterations": 1})
    fitted, losses = start(shape, params), []
    for _ in range(4):
        losses.append(fit_rows(csr, step, fitted).loss)
    assert np.isfinite(fitted.users).all()
    assert np.isfinite(fitted.items).all()
    assert not fitted.users[~problem.seen.any(axis=1)].any()
    assert not fitted.items[~problem.seen.any(axis=0)].any()
    if params.regularization == 0:
        return  # Columns that the data hardly determine are lost to float32.
    slack = 1e-3 * (1 + abs(losses[0]))
    assert all(later <= earlier + slack for earlier, later in itertools.pairwise(losses))


@pytest.mark.parametrize("kind", KINDS)
def test_nonnegative_rows_solve_the_bounded_problem(kind: dict[str, object]) -> None:
    params = fixed(**kind, rank=6, nonnegative=True, regularization=0.1, iterations=1)
    shape = (25, 15)
    problem, csr = random_problem(params, shape, 0.4)
    fitted = start(shape, params)
    fit_rows(csr, params, fitted)
    assert (fitted.items[:, :6] >= 0).all()
    assert (fitted.users[:, :6] >= 0).all()
    if params.has_bias:
        return
    weights, targets = problem.transposed().weights_and_targets()
    ridge, users = problem.transposed().ridges(), fitted.users[:, :6].astype(float)
    for item in np.flatnonzero(problem.seen.any(axis=0)):
        root = np.sqrt(weights[item])
        design = np.vstack([users * root[:, None], np.sqrt(ridge[item]) * np.eye(6)])
        expected, _ = nnls(design, np.append(root * targets[item], np.zeros(6)))
        goal = np.append(root * targets[item], np.zeros(6))
        reached, best = (
            ((design @ x - goal) ** 2).sum() for x in (fitted.items[item, :6], expected)
        )
        assert reached - best < 1e-5 * (goal**2).sum()


def test_nonnegative_rows_drop_negative_start_values() -> None:
    params = fixed(rank=6, nonnegative=True, iterations=1)
    shape = (25, 15)
    _, csr = random_problem(params, shape, 0.4)
    fitted = start(shape, params)
    for side in (fitted.users, fitted.items):
        side[:, :6] *= -1
    fit_rows(csr, params, fitted)
    assert (fitted.items >= 0).all()
    assert (fitted.users >= 0).all()


def test_checkerboard_is_learnt() -> None:
    board = np.add.outer(np.arange(20), np.arange(16)) % 2 == 0
    hidden = np.zeros_like(board)
    hidden[np.arange(20), (3 * np.arange(20)) % 16] = True
    rows, columns = (a.astype(np.int32) for a in np.nonzero(~hidden))
    ratings = np.where(board, 5.0, 1.0).astype(np.float32)
    params = fixed(feedback="explicit", rank=2, regularization=0.005, iterations=20)
    csr = csr_from_pairs(rows, columns, ratings[~hidden] - 3, (20, 16))
    fitted = fit_rows(csr, params)
    scores = 3 + fitted.users[:, :2] @ fitted.items[:, :2].T
    scores += fitted.users[:, 2:3] + fitted.items[:, 2]
    assert np.abs(scores - ratings)[hidden].max() < 0.5


def test_implicit_blocks_of_similar_users_are_learnt() -> None:
    seen = np.kron(np.eye(3, dtype=bool), np.ones((10, 8), bool))
    hidden = np.zeros_like(seen)
    hidden[np.arange(30), 8 * (np.arange(30) // 10) + np.arange(30) % 8] = True
    rows, columns = (a.astype(np.int32) for a in np.nonzero(seen & ~hidden))
    params = fixed(rank=3, regularization=0.01, unobserved_weight=0.1, iterations=15)
    fitted = fit_rows(
        csr_from_pairs(rows, columns, np.ones(len(rows), np.float32), (30, 24)), params
    )
    scores = fitted.users[:, :3] @ fitted.items[:, :3].T
    assert scores[hidden].min() > scores[~seen].max() + 0.5


@pytest.mark.parametrize("solver", ["cholesky", "cg", "blocks"])
def test_threads_change_nothing(solver: str) -> None:
    params = fixed(rank=20, solver=solver, iterations=2, threads=1)
    _, csr = random_problem(params, (300, 80), 0.1)
    one = fit_rows(csr, params)
    three = fit_rows(csr, params.model_copy(update={"threads": 3}))
    assert np.array_equal(one.users, three.users)
    assert np.array_equal(one.items, three.items)
    assert one.loss == three.loss


@pytest.mark.parametrize("width", [16, 32, 48, 80])
def test_cholesky_solves(width: int) -> None:
    rng = np.random.default_rng(width)
    rows = rng.normal(size=(3 * width, width)).astype(np.float32)
    matrix = np.zeros(width * width, np.float32)
    rank_update(rows.ravel(), len(rows), width, matrix)
    expected = rows.T.astype(float) @ rows
    assert np.allclose(
        np.triu(matrix.reshape(width, width)), np.triu(expected), rtol=1e-4, atol=1e-3
    )
    right = rng.normal(size=width).astype(np.float32)
    solution = right.copy()
    factorize(matrix, width)
    substitute(matrix, width, solution)
    assert np.allclose(solution, np.linalg.solve(expected, right), rtol=1e-3, atol=1e-4)


def test_a_column_the_data_do_not_determine_is_zero() -> None:
    rows = np.zeros((4, 16), np.float32)
    rows[:, 0] = [1, 2, 3, 4]
    matrix = np.zeros(256, np.float32)
    rank_update(rows.ravel(), 4, 16, matrix)
    solution = np.ones(16, np.float32)
    factorize(matrix, 16)
    substitute(matrix, 16, solution)
    assert solution[0] == pytest.approx(1 / 30)
    assert not solution[1:].any()
