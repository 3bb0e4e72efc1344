"""A recommender as an ONNX graph gives the lists of the model in memory."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from matchlake import AlsParams, MatchboxParams, fit_als, fit_bias, fit_ease, fit_matchbox, fit_slim
from matchlake import fit_popularity as popularity
from matchlake.engine.csr import csr_from_pairs
from matchlake.errors import ParameterError
from matchlake.model_store.onnx_session import score_onnx
from matchlake.model_store.recommender_graph import recommender_graph

SHORT = {"rank": 3, "samples": 5, "burn_in": 5, "threads": 1}


def ratings(ids: Callable[[int], Any] = "u{}".format) -> pd.DataFrame:
    chance = np.random.default_rng(4)
    pairs = np.unique(chance.integers(0, [30, 25], (300, 2)), axis=0)
    frame = pd.DataFrame({"user_id": [ids(u) for u in pairs[:, 0]]})
    frame["item_id"] = [f"film {i}" for i in pairs[:, 1]]
    frame["rating"] = chance.integers(1, 6, len(pairs)).astype(float)
    return frame.assign(weight=frame.rating, event_time=pd.Timestamp("2024-05-01", tz="UTC"))


FITS: dict[str, Callable[[pd.DataFrame], Any]] = {
    "implicit als": lambda rows: fit_als(rows, AlsParams(rank=4, iterations=3)),
    "explicit als": lambda rows: fit_als(rows, AlsParams(rank=4, feedback="explicit")),
    "matchbox": lambda rows: fit_matchbox(rows, params=MatchboxParams(**SHORT)),
    "ease": fit_ease,
    "slim": fit_slim,
    "popularity": popularity,
    "bias": fit_bias,
}


def answer(graph: bytes, user: str, k: int, exclude: tuple[str, ...] = ()) -> Any:
    found = score_onnx(
        graph,
        {
            "user_id": np.array([user], dtype=object),
            "exclude": np.array(exclude, dtype=object),
            "k": np.array([k], np.int64),
        },
    )
    return list(found["item_id"]), found["score"]


def assert_same(graph: bytes, model: Any, user: str, k: int, leave_out: list[str]) -> None:
    items, scores = answer(graph, user, k, tuple(leave_out))
    expected = model.recommend_items(user, k, exclude_seen=leave_out)
    assert items == [item for item, _ in expected]
    np.testing.assert_allclose(scores, [score for _, score in expected], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", FITS)
def test_lists_are_those_of_the_model(name: str) -> None:
    model = FITS[name](ratings())
    graph = recommender_graph(model, None)
    for user in (*model.user_ids[:5], "a stranger"):
        assert_same(graph, model, user, 4, [])
        assert_same(graph, model, user, 99, ["film 1", "film 7", "no film", "film 7"])
    assert answer(graph, "a stranger", 3, tuple(model.item_ids))[0] == []


def test_items_that_a_user_had_are_left_out() -> None:
    rows = ratings()
    model = fit_als(rows, AlsParams(rank=4))
    users, items = (
        pd.Index(ids).get_indexer(rows[name]).astype(np.int32)
        for name, ids in (("user_id", model.user_ids), ("item_id", model.item_ids))
    )
    shape = len(model.user_ids), len(model.item_ids)
    seen = csr_from_pairs(users, items, np.ones(len(rows), np.float32), shape)
    graph = recommender_graph(model, seen)
    for user in model.user_ids:
        had = set(rows.item_id[rows.user_id == user])
        assert_same(graph, model, user, 30, [*had, "film 3"]) if "film 3" in had else None
        items_of, _ = answer(graph, user, 30)
        assert had.isdisjoint(items_of)
        assert len(items_of) == len(model.item_ids) - len(had)
    assert_same(graph, model, "a stranger", 5, [])


def test_whole_numbers_are_their_digits() -> None:
    model = fit_als(ratings(int), AlsParams(rank=4))
    items, _ = answer(recommender_graph(model, None), "17", 4)
    assert items == [item for item, _ in model.recommend_items(17, 4)]


def test_levels_have_no_graph() -> None:
    model = fit_matchbox(ratings(), params=MatchboxParams(ordinal=True, **SHORT))
    with pytest.raises(ParameterError, match="does not support onnx_scores"):
        recommender_graph(model, None)
