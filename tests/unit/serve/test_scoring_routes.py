"""A scoring model behind HTTP: all forms give the model's numbers, and wrong ones are refused."""

import json
from pathlib import Path
from typing import Any

import pytest
from tests.support.served import Client, export_scoring, json_rows, scoring_model, state_of

from matchlake.errors import ModelError
from matchlake.model_store.held_out import HeldOut
from matchlake.model_store.scoring_model import ScoringModel
from matchlake.model_store.verified import Verified, largest_difference, plain_outputs
from matchlake.serve.errors import RequestError
from matchlake.serve.loading import load_served
from matchlake.serve.values import numbers, texts


def expected(model: ScoringModel, rows: list[dict[str, Any]]) -> Verified:
    held = HeldOut(columns={name: tuple(row[name] for row in rows) for name in rows[0]})
    scored = model.score_numpy(held.typed(model.features))
    return Verified(
        sha256="0" * 64,
        inputs={},
        expected={name: _as_json(values) for name, values in plain_outputs(scored).items()},
        tolerance=model.head.tolerance(),
    )


def _as_json(values: tuple[Any, ...]) -> tuple[Any, ...]:
    """A row without a prediction is null, also where NumPy has a cluster -1 or a list of NaN."""
    return tuple(
        None if each == -1 or (isinstance(each, list) and None in each) else each for each in values
    )


def columns_of(rows: list[dict[str, Any]]) -> dict[str, list[Any]]:
    return {name: [row[name] for row in rows] for name in rows[0]}


@pytest.mark.parametrize("kind", ["linear", "trees", "centroids"])
def test_all_forms_give_the_models_numbers(tmp_path: Path, kind: str) -> None:
    for seed in range(4):
        model = scoring_model(seed, kind)
        path = export_scoring(tmp_path / f"{seed}.onnx", model, "7")
        with Client(state_of(path)) as client:
            check_forms(client, model)


def check_forms(client: Client, model: ScoringModel) -> None:
    rows = json_rows(model, range(60))
    columns = columns_of(rows)
    data = [list(row.values()) for row in rows]
    split = {"columns": list(columns), "data": data, "index": list(range(60))}
    want = expected(model, rows)
    for body in ({"dataframe_records": rows}, {"dataframe_split": split}, {"inputs": columns}):
        answer = client.post("/invocations", json=body)
        assert answer.status_code == 200, answer.text
        assert answer.headers["x-model-version"] == "7"
        found = columns_of(answer.json()["predictions"])
        assert largest_difference(found, want) <= want.tolerance
    tensors = [
        {"name": name, "shape": [60], "datatype": "BYTES", "data": values}
        for name, values in columns.items()
    ]
    body = {"id": "x", "inputs": tensors, "outputs": [{"name": "prediction"}]}
    answer = client.post(f"/v2/models/{model.name}/infer", json=body)
    (found,) = answer.json()["outputs"]
    assert (answer.json()["id"], answer.json()["model_version"]) == ("x", "7")
    assert found["shape"] == [60]
    only = want.model_copy(update={"expected": {"prediction": want.expected["prediction"]}})
    assert largest_difference({"prediction": found["data"]}, only) <= want.tolerance


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A model with all of its columns, and one good row."""
    model = next(
        each
        for each in (scoring_model(seed, count=14) for seed in range(100))
        if {"n", "i", "c", "l"} <= set(each.columns())
    )
    path = export_scoring(tmp_path_factory.mktemp("served") / "m.onnx", model)
    with Client(state_of(path, max_rows=3, max_body_bytes=20_000)) as client:
        rows = json_rows(model, range(20))
        yield client, next(row for row in rows if accepts(client, row))


def accepts(client: Client, row: dict[str, Any]) -> bool:
    return client.post("/invocations", json={"dataframe_records": [row]}).status_code == 200


WRONG: list[tuple[dict[str, Any], str, str]] = [
    ({"n": "1"}, "n", "expected a number, found the string '1'"),
    ({"n": True}, "n", "expected a number, found true"),
    ({"n": [1]}, "n", "expected a number, found a list"),
    ({"n": 10**400}, "n", "expected a number of double precision, found a huge number"),
    ({"i": 1.5}, "i", "expected an integer of type bigint, found the number 1.5"),
    ({"i": 2**63}, "i", "expected an integer of type bigint"),
    ({"c": 3}, "c", "expected a text, found the number 3"),
    ({"c": "\ud800"}, "c", "expected a string of valid Unicode"),
    ({"l": "a"}, "l", "expected a list, found the string 'a'"),
    ({"l": ["a", 1]}, "l", "expected a text, found the number 1"),
    ({"more": 1}, "more", "The model has no column 'more'"),
]


@pytest.mark.parametrize(("change", "field", "message"), WRONG)
def test_a_wrong_value_is_refused_with_its_column(
    served: Any, change: dict[str, Any], field: str, message: str
) -> None:
    client, row = served
    answer = client.post(
        "/invocations",
        content=json.dumps({"dataframe_records": [row | change]}),
        headers={"content-type": "application/json"},
    )
    assert answer.status_code == 400
    assert answer.json()["field"] == field
    assert message in answer.json()["message"]


def test_other_bodies_are_refused(served: Any) -> None:
    client, row = served
    name = next(iter(row))
    missing = {key: value for key, value in row.items() if key != name}
    bodies: list[tuple[Any, int, str]] = [
        (b"", 400, "not valid UTF-8 JSON"),
        (b"[]", 400, "must be a JSON object"),
        (b'{"a":' * 3000 + b"1" + b"}" * 3000, 400, "not valid UTF-8 JSON"),
        (b"\xff\xfe", 400, "not valid UTF-8 JSON"),
        ({"instances": []}, 400, "it has 'instances'"),
        ({"dataframe_records": [missing]}, 400, f"Column {name} is missing"),
        ({"dataframe_records": [row, missing]}, 400, f"Row 1 has no column '{name}'"),
        ({"dataframe_records": []}, 400, "is missing"),
        ({"dataframe_records": [row] * 4}, 400, "has 4 rows; at most 3"),
        ({"dataframe_records": [row], "params": {"k": 1}}, 400, "no parameter 'k'"),
        ({"dataframe_split": {"columns": ["a", "a"], "data": []}}, 400, "a name twice"),
        ({"dataframe_split": {"columns": ["a"], "data": [[1, 2]]}}, 400, "a list of 1 values"),
        ({"inputs": {"a": [1], "b": [1, 2]}}, 400, "different lengths"),
        (b'{"inputs":{"a":1,"a":2}}', 400, "the key 'a' twice"),
        (b" " * 20_001, 413, "more than 20000 bytes"),
    ]
    for body, status, message in bodies:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = {"content-type": "application/json; charset=utf-8"}
        answer = client.post("/invocations", content=content, headers=headers)
        assert (answer.status_code, message in answer.json()["message"]) == (status, True), (
            answer.text
        )
    text = client.post("/invocations", content="a,b", headers={"content-type": "text/csv"})
    assert text.status_code == 415
    assert client.get("/invocations").status_code == 405
    assert client.get("/nothing").json()["error_code"] == "NOT_FOUND"


def test_null_and_nan_are_the_same(served: Any) -> None:
    client, row = served
    answers = []
    for value in ("null", "NaN"):
        body = json.dumps({"dataframe_records": [row | {"n": "@"}]}).replace('"@"', value)
        headers = {"content-type": "application/json"}
        answers.append(client.post("/invocations", content=body, headers=headers))
    assert answers[0].json() == answers[1].json()
    assert answers[0].status_code in (200, 400)


def test_health_metadata_openapi_and_metrics(served: Any) -> None:
    client, row = served
    for path in ("/ping", "/version", "/v2", "/v2/health/live", "/v2/health/ready", "/", "/health"):
        assert client.get(path).status_code == 200, path
    name = client.get("/openapi.json").headers["x-model-name"]
    described = client.get(f"/v2/models/{name}").json()
    assert {each["name"] for each in described["inputs"]} == set(row)
    assert client.get("/v2/models/other").status_code == 404
    assert client.get("/recommend/ann").status_code == 404
    schema = client.get("/openapi.json").json()["paths"]["/invocations"]["post"]["requestBody"]
    records = schema["content"]["application/json"]["schema"]["oneOf"][0]["properties"]
    assert set(records["dataframe_records"]["items"]["required"]) == set(row)
    before = metric(client, 'matchlake_requests_total{route="invocations",status="2xx"}')
    assert accepts(client, row)
    assert (
        metric(client, 'matchlake_requests_total{route="invocations",status="2xx"}') == before + 1
    )
    counted = metric(client, "matchlake_request_seconds_count")
    assert metric(client, 'matchlake_request_seconds_bucket{le="+Inf"}') >= counted > 0
    assert metric(client, "matchlake_request_seconds_sum") > 0


def metric(client: Client, name: str) -> float:
    lines = client.get("/metrics").text.splitlines()
    (value,) = (line.rpartition(" ")[2] for line in lines if line.startswith(f"{name} "))
    return float(value)


def test_answers_have_no_number_that_json_lacks(tmp_path: Path) -> None:
    model = scoring_model(3)
    path = export_scoring(tmp_path / "m.onnx", model)
    rows = [
        {name: _extreme(kind) for name, kind in kinds(model).items()} for _extreme in (_none, _huge)
    ]
    with Client(state_of(path)) as client:
        for row in rows:
            answer = client.post("/invocations", json={"dataframe_records": [row]})
            json.loads(answer.text, parse_constant=pytest.fail)


def kinds(model: ScoringModel) -> dict[str, str]:
    return {each.column: each.type for each in model.features.features}


def _none(_: str) -> Any:
    return None


def _huge(kind: str) -> Any:
    if kind.startswith("array"):
        return []
    examples = {"double": 1e308, "float": 1e38, "bigint": 2**62, "boolean": True, "string": ""}
    return examples.get(kind, "2024-02-25" if kind == "date" else 1.0)


@pytest.mark.parametrize(
    ("kind", "value", "number"),
    [
        ("decimal(6,2)", "1.005", 1.01),
        ("decimal(6,2)", 2.675, 2.68),
        ("decimal(6,2)", 9999.994, 9999.99),
        ("float", 0.1, 0.10000000149011612),
        ("float", 1e39, float("inf")),
        ("double", 5, 5.0),
        ("bigint", 3.0, 3.0),
        ("boolean", True, 1.0),
    ],
)
def test_a_number_is_read_as_its_column_has_it(kind: str, value: Any, number: float) -> None:
    assert numbers("x", kind, [value, None])[0] == number


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("decimal(6,2)", 10_000),
        ("decimal(6,2)", "9999.995"),
        ("decimal(6,2)", "1e3"),
        ("decimal(6,2)", float("inf")),
        ("decimal(6,2)", 10**400),
        ("tinyint", 128),
        ("boolean", 1),
    ],
)
def test_a_number_beyond_its_type_is_refused(kind: str, value: Any) -> None:
    with pytest.raises(RequestError, match=r"x, row 0: expected"):
        numbers("x", kind, [value])


def test_dates_are_days() -> None:
    days = texts("d", "date", ["2024-02-25", "2024-02-25T10:00:00"]).tolist()
    assert days == ["2024-02-25"] * 2
    for wrong in ("2024-02-30", "20240225", "2024-W09-1", "", 20240225):
        with pytest.raises(RequestError, match="expected a date"):
            texts("d", "date", [wrong])


@pytest.mark.soak
def test_a_folder_of_mlflow_is_served_and_a_changed_one_refused(tmp_path: Path) -> None:
    import mlflow  # noqa: PLC0415 - takes seconds

    model = scoring_model(2, count=6)
    path = export_scoring(tmp_path / "folder", model, "7")
    with Client(state_of(path)) as client:
        check_forms(client, model)
    loaded = mlflow.pyfunc.load_model(str(path))
    assert loaded.unwrap_python_model()._run is not None, "it scores by the graph"
    path.joinpath("MLmodel").write_text(path.joinpath("MLmodel").read_text() + "\n")
    with pytest.raises(ModelError, match="was changed after its export"):
        load_served(path)
