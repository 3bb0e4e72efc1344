"""A recommender behind HTTP: lists of users, of items and of a session, equal to the model's."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from tests.support.saved_models import ITEMS, USERS, factor_model
from tests.support.served import Client, export_recommender, state_of

from matchlake import AlsParams, fit_als
from matchlake.errors import ModelError
from matchlake.io.salt import Salt
from matchlake.model_store.numpy import load_numpy
from matchlake.model_store.served_recommender import recommender_signature
from matchlake.model_store.served_signature import FoldIn, RecommenderSignature
from matchlake.serve.erased import ErasedUsers
from matchlake.serve.errors import RequestError
from matchlake.serve.fold_in import ItemFactors, top
from matchlake.serve.loading import load_served
from matchlake.serve.recommender import RecommenderServer


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_recommender(tmp_path_factory.mktemp("recommender") / "best", "3")


def items_of(answer: Any) -> list[tuple[Any, float]]:
    assert answer.status_code == 200, answer.text
    assert answer.headers["x-model-version"] == answer.json()["model_version"] == "3"
    return [(each["item_id"], each["score"]) for each in answer.json()["items"]]


def assert_same(found: list[tuple[Any, float]], expected: list[tuple[Any, float]]) -> None:
    assert [item for item, _ in found] == [item for item, _ in expected]
    assert np.allclose([s for _, s in found], [s for _, s in expected], rtol=1e-5, atol=1e-6)


def test_lists_are_those_of_the_model(folder: Path) -> None:
    model = load_numpy(folder.with_name("saved-best"))
    with Client(state_of(folder)) as client:
        for user in (*USERS, "stranger"):
            for k in (1, 3, 99):
                found = items_of(client.get(f"/recommend/{user}?k={k}"))
                assert_same(found, model.recommend_items(user, k))
        left_out = client.get("/recommend/ann?k=5&exclude=i0&exclude=i3&exclude=none")
        assert_same(items_of(left_out), model.recommend_items("ann", 5, exclude_seen=["i0", "i3"]))
        for item in ITEMS:
            found = items_of(client.get(f"/similar/{item}?k=3"))
            assert_same(found, model.similar_items(item, 3))


def test_a_session_is_folded_in(folder: Path) -> None:
    model: Any = load_numpy(folder.with_name("saved-best"))
    history = {"i0": 4.5, "i3": 1.0, "unknown": 2.0}
    row = model.fold_in_user({item: value for item, value in history.items() if item != "unknown"})
    best = model.recommend_items(row, 2, exclude_seen=["i0", "i3"])
    with Client(state_of(folder)) as client:
        answer = client.post("/recommend", json={"items": history, "k": 2})
        assert_same(items_of(answer), best)
        cold = client.post("/recommend", json={"items": {"unknown": 1.0}, "k": 3})
        assert_same(items_of(cold), model.recommend_items("stranger", 3))
        refused = client.post("/recommend", json={"items": ["i0"]})
        assert (refused.status_code, refused.json()["field"]) == (400, "items")


@pytest.mark.parametrize(
    "params",
    [
        {"feedback": "implicit", "rank": 6},
        {"feedback": "implicit", "rank": 6, "objective": "hu_koren", "weight_scale": 2.0},
        {"feedback": "explicit", "rank": 6, "nu": 0.5},
        {"feedback": "explicit", "rank": 6, "biases": False},
    ],
)
def test_a_fold_in_is_that_of_the_fit(params: dict[str, Any]) -> None:
    chance = np.random.default_rng(4)
    pairs = np.unique(chance.integers(0, [60, 40], (800, 2)), axis=0)
    rows = pd.DataFrame({"user_id": pairs[:, 0], "item_id": [f"f{i}" for i in pairs[:, 1]]})
    rows["rating"] = rows["weight"] = chance.integers(1, 6, len(pairs)).astype(float)
    rows["event_time"] = pd.Timestamp("2024-05-01", tz="UTC")
    model: Any = fit_als(rows, AlsParams(iterations=3, **params))
    signature = recommender_signature(model, "als", predicts_ratings=True)
    side = model.sides[1]
    items = ItemFactors(side.factors, side.bias, signature.fold_in)
    for _, history in list(rows.groupby("user_id"))[:20]:
        values = dict(zip(history.item_id, history.rating, strict=True))
        expected = model.fold_in_user(values)
        places = np.array([side.places[item] for item in values])
        found = items.fold_in(places, np.array(list(values.values())))
        assert np.allclose(found[:6], expected.factors, rtol=2e-4, atol=2e-5)
        best = items.best(found, 5, places)
        want = model.recommend_items(expected, 5, exclude_seen=list(values))
        assert [side.ids[place] for place in best.places] == [item for item, _ in want]
        assert np.allclose(best.scores, [score for _, score in want], rtol=1e-3, atol=1e-4)


def test_the_largest_scores_are_found() -> None:
    chance = np.random.default_rng(1)
    for size in (1, 63, 64, 65, 1000, 12_000):
        for k in (1, 10, 100):
            scores = chance.integers(0, 50, size).astype(np.float32)
            scores[chance.random(size) < 0.3] = -np.inf
            order = [p for p in np.argsort(-scores, kind="stable")[:k] if scores[p] > -np.inf]
            assert top(scores, k).places.tolist() == order


def test_mlflow_and_kserve_list_items_too(folder: Path) -> None:
    with Client(state_of(folder)) as client:
        best = items_of(client.get("/recommend/bob?k=2"))
        rows = [{"user_id": "bob"}, {"user_id": None}]
        answer = client.post("/invocations", json={"dataframe_records": rows, "params": {"k": 2}})
        found = answer.json()["predictions"][0]
        assert list(zip(found["item_id"], found["score"], strict=True)) == best
        user = {"name": "user_id", "datatype": "BYTES", "shape": [2], "data": ["bob", "cid"]}
        body = {"inputs": [user], "parameters": {"k": 2}}
        items, scores = client.post("/v2/models/recommender/infer", json=body).json()["outputs"]
        assert (items["shape"], items["data"][:2]) == ([2, 2], [item for item, _ in best])
        assert scores["data"][:2] == [score for _, score in best]


def test_wrong_requests_are_refused_with_their_field(folder: Path) -> None:
    with Client(state_of(folder, max_rows=3)) as client:
        for path, field in (
            ("/recommend/ann?k=0", "k"),
            ("/recommend/ann?k=1&k=2", "k"),
            ("/recommend/ann?n=1", "n"),
            (f"/recommend/{'u' * 2000}", "user"),
            ("/similar/i0?exclude=i1", "exclude"),
        ):
            answer = client.get(path)
            assert (answer.status_code, answer.json()["field"]) == (400, field)
        assert client.get("/similar/none").status_code == 404
        bodies: list[tuple[Any, str]] = [
            ({"items": {"i0": "4"}}, "items"),
            ({"items": {"i0": float("nan")}}, "items"),
            ({"items": {"i0": 1e31}}, "items"),
            ({"items": {}, "user": "ann"}, "user"),
            ({"items": {"i0": 1.0}, "exclude": "i0"}, "exclude"),
            ({"items": {"i0": 1.0}, "k": 1.5}, "k"),
            ({"items": {f"x{i}": 1.0 for i in range(4)}}, "items"),
            ({"k": 3}, "items"),
        ]
        headers = {"content-type": "application/json"}
        large = {"inputs": {"user_id": ["ann"] * 101}, "params": {"k": 1000}}
        with Client(state_of(folder)) as other:
            answer = other.post("/invocations", json=large)
            assert (answer.status_code, answer.json()["field"]) == (400, "k")
        for body, field in bodies:
            answer = client.post("/recommend", content=json.dumps(body), headers=headers)
            assert (answer.status_code, answer.json()["field"]) == (400, field), answer.text


def test_values_that_overflow_are_refused() -> None:
    problem = FoldIn(
        level=0.0, centered=False, slope=0.0, base=1.0, gain=1.0, shift=0.0, base_weight=0.0,
        counts_all_pairs=False, penalty_weight=0.0, nu=1.0,
    )  # fmt: skip
    signature = RecommenderSignature(
        name="r", algorithm="als", id_type="string", item_id_type="string", predicts_ratings=True,
        users=0, items=2, fold_in=problem,
    )  # fmt: skip
    factors = np.full((2, 1), 1e-12, np.float32)
    items = ItemFactors(factors, np.zeros(2, np.float32), problem)
    session: Any = None
    served = RecommenderServer(session, signature, "1", items, ["a", "b"])
    with pytest.raises(RequestError, match="too large for a fold-in"):
        served.recommend_new({"a": 9e29}, 1, [])
    assert served.recommend_new({"a": 2.0}, 1, []).items == ["b"]


def test_whole_ids_stay_whole(tmp_path: Path) -> None:
    path = export_recommender(tmp_path / "n", "3", users=[7, 8], items=[1, 2, 3])
    with Client(state_of(path)) as client:
        found = items_of(client.get("/recommend/7?k=3"))
        assert {item for item, _ in found} == {1, 2, 3}
        rows = {"dataframe_records": [{"user_id": 7}], "params": {"k": 3}}
        listed = client.post("/invocations", json=rows).json()["predictions"][0]["item_id"]
        assert listed == [item for item, _ in found]


def test_a_graph_alone_recommends_and_says_what_it_lacks(tmp_path: Path) -> None:
    path = export_recommender(tmp_path / "best.onnx", "3")
    with Client(state_of(path)) as client:
        assert len(items_of(client.get("/recommend/ann"))) == 5
        for answer in (client.get("/similar/i0"), client.post("/recommend", json={"items": {}})):
            assert answer.status_code == 404
            assert "--format folder" in answer.json()["message"]
        described = client.get("/openapi.json").json()["paths"]
    assert "/recommend/{user}" in described
    assert not {"/recommend", "/similar/{item}"} & set(described)


def test_an_erased_user_is_answered_as_a_stranger(folder: Path, tmp_path: Path) -> None:
    file, salt = tmp_path / "erased.json", Salt(b"salt of a test")
    content = {"salt_id": salt.id, "hashes": [salt.hash("ann")]}
    state = state_of(folder)
    state.erased = ErasedUsers(file, salt.key.decode)
    with Client(state) as client:
        known = items_of(client.get("/recommend/ann"))
        file.write_text(json.dumps(content))
        state.erased.refresh()
        stranger = items_of(client.get("/recommend/stranger"))
        assert items_of(client.get("/recommend/ann")) == stranger != known
        rows = {"dataframe_records": [{"user_id": "ann"}, {"user_id": "bob"}]}
        first, second = client.post("/invocations", json=rows).json()["predictions"]
        assert first["score"] == [score for _, score in stranger] != second["score"]
        assert "matchlake_erased_user_requests_total 2" in client.get("/metrics").text
    file.write_text(json.dumps(content | {"salt_id": "other"}))
    with pytest.raises(Exception, match=r"The secret of erase\.salt has changed"):
        state.erased.refresh()


def test_a_changed_folder_is_refused(tmp_path: Path) -> None:
    path = export_recommender(tmp_path / "best", "3")
    factors = path / "item_factors.npy"
    before = factors.read_bytes()
    factors.write_bytes(before[:-1] + bytes([before[-1] ^ 1]))
    with pytest.raises(ModelError, match="was changed after its export"):
        load_served(path)
    factors.unlink()
    with pytest.raises(ModelError, match="cannot be read"):
        load_served(path)
    assert factor_model().params.rank == 3
