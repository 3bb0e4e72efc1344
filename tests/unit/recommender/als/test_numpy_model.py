"""The model in plain NumPy: recommendations, fold-in, explanation."""

import subprocess
import sys

import numpy as np
import pytest
from tests.support.als_oracle import fixed

from matchlake.engine.csr import csr_from_pairs
from matchlake.errors import InputError, ParameterError
from matchlake.recommender.als.in_memory import Fitted, fit_rows, initial_rows
from matchlake.recommender.als.numpy_model import NumpyFactorModel
from matchlake.recommender.als.params import AlsParams

USERS, ITEMS = [f"u{n:02d}" for n in range(40)], [f"i{n:02d}" for n in range(25)]


def trained(params: AlsParams) -> tuple[NumpyFactorModel, dict[str, dict[str, float]]]:
    """A model whose last half was the users', and each user's history."""
    rng = np.random.default_rng(1)
    seen = rng.random((len(USERS), len(ITEMS))) < 0.3
    values = rng.integers(1, 6, seen.shape).astype(np.float32)
    rows, columns = (a.astype(np.int32) for a in np.nonzero(seen))
    mean = float(np.float32(values[seen].mean())) if params.has_bias else 0.0
    csr = csr_from_pairs(rows, columns, values[rows, columns] - np.float32(mean), seen.shape)
    start = Fitted(*(initial_rows(side, np.arange(n), params) for side, n in ((0, 40), (1, 25))))
    fitted = fit_rows(csr, params, start)
    # One more half for the users alone: of the transposed problem, items are solved last.
    turned = fit_rows(csr.transpose(), params, Fitted(fitted.items.copy(), fitted.users))
    again = Fitted(turned.items, turned.users)
    rank, bias = params.rank, params.rank if params.has_bias else slice(0, 0)
    model = NumpyFactorModel(
        USERS,
        ITEMS,
        again.users[:, :rank],
        again.items[:, :rank],
        again.users[:, bias] if params.has_bias else np.zeros(40, np.float32),
        again.items[:, bias] if params.has_bias else np.zeros(25, np.float32),
        mean,
        params,
        csr.counts(),
        csr.transpose().counts(),
    )
    histories = {
        user: {ITEMS[i]: float(values[u, i]) for i in np.flatnonzero(seen[u])}
        for u, user in enumerate(USERS)
    }
    return model, histories


KINDS = [{"feedback": "explicit"}, {"feedback": "implicit", "alpha": 3.0, "objective": "hu_koren"}]


@pytest.mark.parametrize("kind", KINDS)
def test_fold_in_equals_one_row_of_a_half_iteration(kind: dict[str, object]) -> None:
    params = fixed(**kind, rank=6, solver="cholesky", iterations=2)
    model, histories = trained(params)
    for n in (0, 7, 39):
        row = model.fold_in_user(histories[USERS[n]] | {"an unknown item": 5.0})
        assert np.allclose(row.factors, model.user_factors[n], atol=1e-6)
        assert row.bias == pytest.approx(float(model.user_bias[n]), abs=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_explanation_adds_up_to_the_score(kind: dict[str, object]) -> None:
    model, histories = trained(fixed(**kind, rank=6, solver="cholesky", iterations=2))
    history = histories["u03"]
    parts = model.explain("i05", history)
    assert {item for item, _ in parts} == set(history)
    assert [value for _, value in parts] == sorted((v for _, v in parts), reverse=True)
    total = model.mean + model.item_bias[5] + sum(value for _, value in parts)
    assert total == pytest.approx(float(model.score(["u03"], ["i05"])[0]), abs=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_invalid_ratings_are_not_folded_in(kind: dict[str, object]) -> None:
    model, _ = trained(fixed(**kind, rank=2, iterations=1))
    for wrong in (float("nan"), float("inf")):
        for fold in (model.fold_in_user, model.fold_in_item):
            with pytest.raises(InputError, match=f"'u01': {wrong} cannot be folded in.*finite"):
                fold({"i01": 1.0, "u01": wrong})
    if not model.params.has_bias:
        with pytest.raises(InputError, match=r"'i01': -1 cannot be folded in.*of at least 0"):
            model.explain("i05", {"i01": -1})


@pytest.mark.parametrize("solver", ["cholesky", "cg", "blocks"])
def test_a_weight_of_zero_is_no_preference(solver: str) -> None:
    params = fixed(objective="hu_koren", nu=0, rank=4, iterations=3, solver=solver)
    users, items = np.array([0, 0, 1, 2, 2], np.int32), np.array([0, 1, 1, 0, 2], np.int32)
    strengths = np.array([2, 1, 3, 1, 1], np.float32)
    without = fit_rows(csr_from_pairs(users, items, strengths, (4, 3)), params)
    more = np.append(users, [1, 3]).astype(np.int32), np.append(items, [0, 2]).astype(np.int32)
    zeros = np.append(strengths, [0, 0]).astype(np.float32)
    given = fit_rows(csr_from_pairs(*more, zeros, (4, 3)), params)
    assert np.allclose(given.users, without.users, atol=1e-5)
    assert np.allclose(given.items, without.items, atol=1e-5)


def test_recommendations_are_the_largest_scores() -> None:
    model, histories = trained(fixed(feedback="explicit", rank=6))
    scores = {item: float(model.score(["u01"], [item])[0]) for item in ITEMS}
    left = [item for item in ITEMS if item not in histories["u01"]]
    expected = sorted(left, key=lambda item: (-scores[item], item))[:5]
    found = model.recommend_items("u01", 5, exclude_seen=histories["u01"])
    assert [item for item, _ in found] == expected
    assert [score for _, score in found] == pytest.approx([scores[i] for i in expected], abs=1e-5)
    chosen = model.recommend_items("u01", 5, candidates=[*expected[1:3], "an unknown item"])
    assert [item for item, _ in chosen] == expected[1:3]
    folded = model.fold_in_user(histories["u01"])
    assert len(model.recommend_items(folded, 30)) == len(ITEMS)


def test_an_unknown_user_gets_popular_items() -> None:
    model, histories = trained(fixed(rank=6))
    counts = {item: sum(item in history for history in histories.values()) for item in ITEMS}
    found = model.recommend_items("nobody", 3)
    best = sorted(ITEMS, key=lambda item: (-counts[item], item))[:3]
    assert [item for item, _ in found] == best
    assert found[0][1] == pytest.approx(counts[best[0]] / sum(counts.values()))
    assert model.recommend_items(model.fold_in_user({"an unknown item": 1.0}), 3) == found
    strangers = model.recommend_users("an unknown item", 3)
    assert model.recommend_users(model.fold_in_item({}), 3) == strangers


def test_lists_have_a_length() -> None:
    model, _ = trained(fixed(rank=6))
    asks = (model.recommend_items, model.recommend_users, model.similar_items, model.related_users)
    for ask in asks:
        with pytest.raises(ParameterError, match="k=0 must be 1 or more"):
            ask("u01" if ask == model.related_users else "i04", 0)
    assert len(model.recommend_items("u01", 10**15)) == len(ITEMS)


def test_similar_items_by_cosine() -> None:
    model, _ = trained(fixed(rank=6))
    unit = model.item_factors / np.linalg.norm(model.item_factors, axis=1, keepdims=True)
    cosines = unit @ unit[4]
    cosines[4] = -2
    found = model.similar_items("i04", 3)
    assert [item for item, _ in found] == [ITEMS[n] for n in np.argsort(-cosines)[:3]]
    with pytest.raises(KeyError):
        model.similar_items("an unknown item", 3)


def test_users_for_items_and_similar_users_are_the_same_with_sides_exchanged() -> None:
    model, _ = trained(fixed(feedback="explicit", rank=6))
    scores = model.score(USERS, ["i04"] * len(USERS))
    left = [n for n in np.argsort(-scores, kind="stable") if USERS[n] not in ("u02", "u07")][:4]
    found = model.recommend_users("i04", 4, exclude_seen=["u02", "u07", "an unknown user"])
    assert found == [(USERS[n], pytest.approx(float(scores[n]), abs=1e-5)) for n in left]
    some = ["u05", "u09"]
    assert {user for user, _ in model.recommend_users("i04", 9, candidates=some)} == set(some)
    unit = model.user_factors / np.linalg.norm(model.user_factors, axis=1, keepdims=True)
    cosines = unit @ unit[4]
    cosines[4] = -2
    similar = model.similar_users("u04", 3)
    assert [user for user, _ in similar] == [USERS[n] for n in np.argsort(-cosines)[:3]]


def test_serving_needs_no_spark() -> None:
    code = "import sys; sys.modules['pyspark'] = None; import matchlake.recommender.als.numpy_model"
    subprocess.run([sys.executable, "-c", code], check=True)


def counted(n_interactions: list[int]) -> NumpyFactorModel:
    rng = np.random.default_rng(3)
    rows = len(n_interactions)
    users, items = rng.normal(size=(rows, 2)), rng.normal(size=(4, 2))
    return NumpyFactorModel(
        [f"u{n}" for n in range(rows)],
        [f"i{n}" for n in range(4)],
        users.astype(np.float32),
        items.astype(np.float32),
        np.zeros(rows, np.float32),
        np.zeros(4, np.float32),
        3.0,
        fixed(feedback="explicit", rank=2),
        np.array(n_interactions),
        np.ones(4, np.int64),
    )


def test_rows_without_ratings_ask_but_are_no_answer_and_move_no_moment() -> None:
    some, all_ = counted([1, 5, 0, 2, 0]), counted([1, 5, 1, 2, 1])
    assert {user for user, _ in some.related_users("u2", 9)} == {"u0", "u1", "u3"}
    assert {user for user, _ in all_.related_users("u2", 9)} == {"u0", "u1", "u3", "u4"}
    without = counted([1, 5, 1, 2])
    trained = NumpyFactorModel(
        [without.user_ids[n] for n in (0, 1, 3)],
        without.item_ids,
        some.user_factors[[0, 1, 3]],
        some.item_factors,
        np.zeros(3, np.float32),
        np.zeros(4, np.float32),
        3.0,
        some.params,
    )
    assert some.related_items("i0", 3) == trained.related_items("i0", 3)
