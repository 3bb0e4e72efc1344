"""Fold-in against the conditional mean, and the hand-over from prior to ratings."""

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from tests.support.matchbox_cases import Case, gibbs_for, planted, sparse

from matchlake.engine.csr import Csr
from matchlake.errors import InputError
from matchlake.recommender.matchbox.chains import run_chains
from matchlake.recommender.matchbox.fold_in import NewRatings, fold_in
from matchlake.recommender.matchbox.params import MatchboxParams
from matchlake.recommender.matchbox.posterior import Posterior, SidePosterior
from matchlake.recommender.matchbox.sampler.history_features import (
    dense_rows,
    history_of,
    history_rows,
    hstack,
    mean_feature_row,
    most_rated,
)
from matchlake.recommender.matchbox.sampler.link_matrix import Features
from matchlake.recommender.matchbox.sampler.ratings import Ratings
from matchlake.recommender.sides import ITEM, USER

PARAMS = MatchboxParams(rank=2, samples=8, burn_in=30, thinning=2, threads=1)


@pytest.fixture(scope="module")
def fitted() -> tuple[Case, Posterior]:
    case = planted(6, users=60, items=50)
    gibbs = gibbs_for(case, PARAMS)
    return case, Posterior.of(gibbs.samples(), gibbs.response.mean, gibbs.response.levels)


def test_folded_users_and_items_are_conditional_means(fitted: tuple[Case, Posterior]) -> None:
    case, found = fitted
    rated = case.places[:, USER] < 2
    users, items = case.places[rated].T
    features = Features(sparse(case.x[:2]))
    rows, left = fold_in(found, USER, NewRatings(users, items, case.values[rated], 2), features)
    spreads = np.zeros(2)
    for sample in range(found.samples):
        side, q = found.sides[USER], found.sides[ITEM].rows[:, sample].astype(float)
        for user in (0, 1):
            own = items[users == user]
            design = np.column_stack([q[own, :2], np.ones(len(own))])
            beta = 1 / found.response["variance"][sample]
            a = side.precisions[sample] + beta * design.T @ design
            missed = case.values[rated][users == user] - found.mean - q[own, 2]
            prior = side.means[sample] + case.x[user] @ side.links[sample]
            h = side.precisions[sample] @ prior + beta * design.T @ missed
            np.testing.assert_allclose(rows[user, sample], np.linalg.solve(a, h), atol=2e-3)
            every = np.column_stack([q[:, :2], np.ones(len(q))])
            of_ratings, of_prior = (
                np.einsum("ij,jk,ik->i", every, np.linalg.inv(precision), every).mean()
                for precision in (a, side.precisions[sample])
            )
            spreads[user] += of_ratings / of_prior / found.samples
    np.testing.assert_allclose(left, spreads, rtol=1e-3)
    assert (left > 0.0).all()
    assert (left < 0.5).all()

    rated = case.places[:, ITEM] == 3
    users, none = case.places[rated, USER], np.zeros(rated.sum(), np.int32)
    rows = fold_in(found, ITEM, NewRatings(none, users, case.values[rated], 1), None).rows
    beta = found.response["users"][5][users, 0]
    p = found.sides[USER].rows[users, 5].astype(float)
    design = np.column_stack([p[:, :2], np.ones(len(users))])
    a = found.sides[ITEM].precisions[5] + (design * beta[:, None]).T @ design
    h = found.sides[ITEM].precisions[5] @ found.sides[ITEM].means[5]
    h += design.T @ (beta * (case.values[rated] - found.mean - p[:, 2]))
    np.testing.assert_allclose(rows[0, 5], np.linalg.solve(a, h), atol=2e-3)


@pytest.mark.parametrize("ordinal", [False, True])
def test_a_new_user_moves_smoothly_from_the_prior_to_the_ratings(*, ordinal: bool) -> None:
    case = planted(7, users=60, items=50)
    case = replace(case, values=np.clip(np.round(case.values), 1, 5).astype(np.float32))
    gibbs = gibbs_for(case, PARAMS.model_copy(update={"ordinal": ordinal}))
    found = Posterior.of(gibbs.samples(), gibbs.response.mean, gibbs.response.levels)
    features = Features(sparse(case.x[:1]))
    prior = found.sides[USER].prior_rows(features, 1)
    order = np.argsort(-found.sides[ITEM].rows[:, :, 2].mean(axis=1)).astype(np.int32)
    biases, spreads = [], []
    for count in (0, 1, 2, 5, 20):
        # The user calls the best items bad: each rating draws the user's bias further down.
        values, rows = np.full(count, 1.0, np.float32), np.zeros(count, np.int32)
        folded, left = fold_in(found, USER, NewRatings(rows, order[:count], values, 1), features)
        spreads.append(left[0])
        biases.append(folded[0, :, 2].mean())
        if count == 0:
            np.testing.assert_allclose(folded, prior, atol=1e-5)
    assert (np.diff(biases) < 0).all()
    assert (np.diff(spreads) < 0).all()
    assert spreads[0] == pytest.approx(1.0, abs=1e-4)
    steps = -np.diff(biases)
    assert steps[0] < 0.8 * steps.sum()


@pytest.mark.parametrize("count", [0, 1, 3, 10])
def test_intervals_of_new_users_have_the_nominal_coverage(count: int) -> None:
    case = planted(8, users=300, items=50)
    trained = case.places[:, USER] < 100
    old = replace(case, places=case.places[trained], values=case.values[trained], x=case.x[:100])
    old = replace(old, sizes=(100, 50))
    gibbs = gibbs_for(old, PARAMS.model_copy(update={"samples": 30}))
    found = Posterior.of(gibbs.samples(), gibbs.response.mean, gibbs.response.levels)
    places, values = case.places[~trained] - [100, 0], case.values[~trained]
    # The first ratings of each user are known, all others asked for.
    turn = np.zeros(len(places), int)
    for user in range(200):
        own = places[:, USER] == user
        turn[own] = np.arange(own.sum())
    given, asked = turn < count, turn >= count
    users, items = places[given].T.astype(np.int32)
    new = NewRatings(users, items, values[given], 200)
    rows, left = fold_in(found, USER, new, Features(sparse(case.x[100:])))
    predictor = replace(
        found.predictor(),
        rows=np.concatenate([rows, found.sides[ITEM].rows]),
        prior_share=np.concatenate([left, np.zeros(50, np.float32)]),
        response=np.tile(found.response["variance"][:, None].astype(np.float32), (200, 1, 1)),
    )
    guess = predictor.predict((places[asked] + [0, 200]).astype(np.int32))
    inside = np.abs(values[asked] - guess.scores) < 1.645 * guess.rating_std
    assert 0.87 < inside.mean() < 0.93


@pytest.mark.parametrize("ordinal", [False, True])
@pytest.mark.parametrize("rating", [np.nan, np.inf, 6.0, 4.5])
def test_ratings_that_the_fit_cannot_have_are_errors(
    fitted: tuple[Case, Posterior], rating: float, *, ordinal: bool
) -> None:
    found = replace(fitted[1], levels=np.arange(1.0, 6.0)) if ordinal else fitted[1]
    none = np.zeros(1, np.int32)
    new = NewRatings(none, none, np.array([rating], np.float32), 1)
    if np.isfinite(rating) and not ordinal:
        assert np.isfinite(fold_in(found, USER, new, None).rows).all()
        return
    needs = "one of the levels of the fit, 1, 2, 3, 4, 5" if ordinal else "a finite number"
    with pytest.raises(InputError, match=f"1 of 1 .* among them {rating:g}: .* {needs}"):
        fold_in(found, USER, new, None)


def test_history_features_are_the_most_rated_over_the_root_of_the_count() -> None:
    places = np.array([[0, 2], [0, 1], [0, 0], [1, 2], [3, 2], [3, 1]], np.int32)
    ratings = Ratings(places, np.ones(6, np.float32), (4, 4))
    columns = most_rated(ratings, ITEM, 2)
    assert columns.tolist() == [2, 1]
    history = history_rows(ratings, USER, columns)
    expected = [[1, 1], [1, 0], [0, 0], [1, 1]] / np.sqrt([[3], [1], [1], [2]])
    np.testing.assert_allclose(dense(history), expected, rtol=1e-6)
    none = np.zeros(0, np.int32)
    assert dense(history_of(none, none, 2, columns)).tolist() == [[0, 0], [0, 0]]
    both = hstack(dense_rows(np.eye(4, dtype=np.float32)), history)
    assert both is not None
    np.testing.assert_allclose(dense(both), np.column_stack([np.eye(4), expected]), rtol=1e-6)
    assert hstack(None, None) is None


def dense(rows: Csr) -> npt.NDArray[np.float64]:
    out = np.zeros((rows.rows, rows.width))
    for row in range(rows.rows):
        part = slice(rows.indptr[row], rows.indptr[row + 1])
        out[row, rows.columns[part]] = rows.values[part]
    return out


def test_mean_features_of_history_are_the_mean_over_ratings() -> None:
    # User 0 rates four items, each a half of his history; user 1 rates the first one only.
    places = np.array([[0, 0], [0, 1], [0, 2], [0, 3], [1, 0]], np.int32)
    ratings = Ratings(places, np.ones(5, np.float32), (2, 4))
    found = mean_feature_row(history_rows(ratings, USER, np.array([1, 0])), np.array([4, 1]))
    np.testing.assert_allclose(found, [4 * 0.5 / 5, (4 * 0.5 + 1) / 5])


@pytest.mark.parametrize(("history", "missed"), [(True, 0.5), (False, 0.2)])
def test_a_row_without_ratings_is_rated_as_a_rating_is_on_average(
    history: bool,  # noqa: FBT001 - a case
    missed: float,
) -> None:
    """Popular items are the good ones: a history of zeros, or a mean over items, is of bad ones."""
    rng = np.random.default_rng(4)
    shares = np.linspace(0.05, 0.8, 60)
    users, items = np.nonzero(rng.random((150, 60)) < shares)
    values = 3.0 + 2.0 * (shares[items] - 0.4) + 0.3 * rng.normal(size=len(users))
    places = np.stack([users, items], axis=1).astype(np.int32)
    ratings = Ratings(places, values.astype(np.float32), (150, 60))
    seen = [most_rated(ratings, side, 1000 if history else 0) for side in (USER, ITEM)]
    rows = (history_rows(ratings, side, seen[1 - side]) for side in (USER, ITEM))
    features = tuple(Features(of) if history else None for of in rows)
    params = MatchboxParams(rank=2, burn_in=50, samples=50, thinning=1, threads=1)
    found, _ = run_chains(ratings, features, params, (len(seen[ITEM]), len(seen[USER])))
    baseline_shift, zero = (
        found.mean
        + rated_by_all(found, replace(found.sides[ITEM], baseline_shift=given), counts_of(users))
        for given in (
            found.sides[ITEM].baseline_shift,
            np.zeros_like(found.sides[ITEM].baseline_shift),
        )
    )
    assert baseline_shift == pytest.approx(values.mean(), abs=0.03)
    assert zero < values.mean() - missed
    # Nor does one of which nothing is known differ from it, as there are no other features.
    np.testing.assert_allclose(found.sides[ITEM].average, found.sides[ITEM].prior_rows(None, 1)[0])


def rated_by_all(found: Posterior, items: SidePosterior, weights: np.ndarray) -> float:
    """Mean score of an item without history with all users, these weighted."""
    cold, rows = items.prior_rows(None, 1)[0], found.sides[USER].rows
    scores = np.einsum("usk,sk->us", rows[:, :, :-1], cold[:, :-1]) + rows[:, :, -1] + cold[:, -1]
    return float(np.average(scores.mean(axis=1), weights=weights))


def counts_of(users: np.ndarray) -> np.ndarray:
    return np.bincount(users, minlength=150)
