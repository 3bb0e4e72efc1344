"""Generated hostile bodies for every door: each is answered, none with 5xx."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.served import (
    Client,
    export_recommender,
    export_scoring,
    json_rows,
    scoring_model,
    state_of,
)

HEADERS = {"content-type": "application/json"}
TEXTS = st.text(max_size=8) | st.sampled_from(["\ud800", "\0", "\1", "\2", "é" * 9, "1e5", "NaN"])
NUMBERS = (
    st.integers(-(2**70), 2**70)
    | st.floats()
    | st.sampled_from([10**400, -(10**400), 2**63, -(2**63) - 1, 1e308, -0.0, 5e-324])
)
LEAVES = st.none() | st.booleans() | NUMBERS | TEXTS
NAMES = TEXTS | st.sampled_from(["user_id", "exclude_seen", "k", "items", "exclude", "params"])
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=3)
)
KEYS = st.sampled_from(["dataframe_records", "dataframe_split", "inputs", "items", "id", "outputs"])
FREE = st.dictionaries(KEYS | NAMES, VALUES, max_size=4) | VALUES
ODD = st.just({}) | st.dictionaries(KEYS, VALUES, max_size=1)
ITEMS = st.sampled_from(["i0", "i3", "5", "6"])
SESSIONS = st.dictionaries(ITEMS | TEXTS, NUMBERS | LEAVES, max_size=3) | st.lists(VALUES)
KINDS = st.sampled_from(["FP64", "BYTES", "INT64", "BOOL", "FP16", 3])


@pytest.fixture(scope="module")
def clients(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[tuple[Client, Any]]]:
    folder = tmp_path_factory.mktemp("hostile")
    model = scoring_model(5, count=10)
    paths = [
        export_scoring(folder / "m.onnx", model),
        export_recommender(folder / "best"),
        export_recommender(folder / "whole", users=[1, 2], items=[5, 6, 7]),
    ]
    made = [Client(state_of(path, max_rows=5, max_body_bytes=100_000)) for path in paths]
    yield list(zip(made, [json_rows(model, range(3)), *[[{"user_id": "ann"}]] * 2], strict=True))
    for client in made:
        client.__exit__()


def near(rows: list[dict[str, Any]], draw: st.DrawFn) -> Any:
    """A good request with one thing changed."""
    row = {**draw(st.sampled_from(rows))}
    name = draw(st.sampled_from(sorted(row)))
    if draw(st.booleans()):
        row[draw(st.sampled_from([name, name, name, "other"]))] = draw(LEAVES | VALUES)
    form = draw(
        st.sampled_from(["dataframe_records", "dataframe_split", "inputs", "tensors", "items"])
    )
    if form == "items":
        return {form: draw(SESSIONS), **draw(ODD)}
    if form == "dataframe_records":
        return {form: [row] * draw(st.integers(0, 7))}
    if form == "dataframe_split":
        more = draw(st.just([]) | st.lists(VALUES, max_size=1))
        data = [list(row.values())] * draw(st.integers(0, 3)) + more
        return {form: {"columns": [*row], "data": data}}
    if form == "inputs":
        return {form: {key: [value] for key, value in row.items()} | draw(ODD)}
    shape = st.lists(st.integers(-1, 3), max_size=3) | VALUES
    tensors = [
        {"name": key, "shape": [1], "datatype": "BYTES", "data": [value]}
        for key, value in row.items()
    ]
    tensors[0] |= draw(ODD | st.fixed_dictionaries({"shape": shape, "datatype": KINDS}))
    return {"inputs": tensors, **draw(ODD)}


def attack(clients: list[tuple[Client, Any]], data: st.DataObject) -> None:
    client, rows = data.draw(st.sampled_from(clients))
    if data.draw(st.sampled_from([True, False, False, False])):
        body = data.draw(FREE)
    else:
        body = data.draw(st.composite(lambda draw: near(rows, draw))())
    text = json.dumps(body).encode()
    content = text
    if data.draw(st.sampled_from([True, False, False, False])):
        cut = data.draw(st.integers(0, len(text)))
        content = text[:cut] + data.draw(st.binary(max_size=3)) + text[cut:]
    name = "recommender" if "user_id" in rows[0] else "m"
    for path in ("/invocations", f"/v2/models/{name}/infer", "/recommend"):
        answer = client.post(path, content=content, headers=HEADERS)
        assert answer.status_code in (200, 400, 404, 413), (path, answer.text)
        if answer.status_code != 200:
            assert answer.json()["message"]
        json.loads(answer.content, parse_constant=pytest.fail)


CHECKS = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]


@settings(max_examples=170, deadline=None, suppress_health_check=CHECKS, derandomize=True)
@given(st.data())
def test_hostile_bodies_are_refused(clients: list[tuple[Client, Any]], data: st.DataObject) -> None:
    """Three routes each: about 500 requests."""
    attack(clients, data)


@pytest.mark.soak
@settings(max_examples=3400, deadline=None, suppress_health_check=CHECKS)
@given(st.data())
def test_ten_thousand_hostile_bodies_are_refused(
    clients: list[tuple[Client, Any]], data: st.DataObject
) -> None:
    attack(clients, data)


def test_paths_and_queries_are_refused_too(clients: list[tuple[Client, Any]]) -> None:
    paths = ["/recommend/%00", "/recommend/%ff", "/recommend/a?k=%ff", "/similar/%F0%9F%92%A5"]
    paths += [
        "/v2/models/%ff/infer",
        "/recommend/a?k=" + "9" * 5000,
        "/%2e%2e/etc",
        "//",
        "/x" * 99,
    ]
    for client, _ in clients:
        for path in paths:
            assert client.get(path).status_code < 500, path
