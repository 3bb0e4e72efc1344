"""Related rows from plain NumPy: trained ones only, though any row may ask."""

import numpy as np

from matchlake.recommender.local import NumpyFactorModel
from matchlake.recommender.params import AlsParams


def model(observed: list[int]) -> NumpyFactorModel:
    rng = np.random.default_rng(3)
    rows = len(observed)
    users, items = rng.normal(size=(rows, 2)), rng.normal(size=(4, 2))
    return NumpyFactorModel(
        [f"u{n}" for n in range(rows)],
        [f"i{n}" for n in range(4)],
        users.astype(np.float32),
        items.astype(np.float32),
        np.zeros(rows, np.float32),
        np.zeros(4, np.float32),
        3.0,
        AlsParams(feedback="explicit", rank=2),
        np.array(observed),
        np.ones(4, np.int64),
    )


def test_rows_without_ratings_ask_but_are_no_answer_and_move_no_moment() -> None:
    some, all_ = model([1, 5, 0, 2, 0]), model([1, 5, 1, 2, 1])
    assert {user for user, _ in some.related_users("u2", 9)} == {"u0", "u1", "u3"}
    assert {user for user, _ in all_.related_users("u2", 9)} == {"u0", "u1", "u3", "u4"}
    without = model([1, 5, 1, 2])
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
