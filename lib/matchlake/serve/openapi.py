"""Describes the routes in OpenAPI's format, with the columns of the model."""

from importlib.metadata import version
from typing import Any

from matchlake.model_store.served_signature import ServedColumn
from matchlake.serve.loading import Served
from matchlake.serve.recommender import MOST_LISTED, RecommenderServer
from matchlake.serve.scoring import ScoringServer

_NUMBERS = {"tinyint": 8, "smallint": 16, "int": 32, "bigint": 64}


def described(model: Served) -> dict[str, Any]:
    """Returns the document for /openapi.json."""
    paths: dict[str, Any] = {
        "/ping": _get("Whether the server answers."),
        "/metrics": _get("Counters and latency in Prometheus' text format."),
        "/version": _get("The release of matchlake."),
        "/v2": _get("The server, by KServe's protocol."),
        f"/v2/models/{model.name}": _get("Inputs and outputs of the model."),
        f"/v2/models/{model.name}/infer": _post("Scores tensors, by KServe's protocol.", _V2),
        "/invocations": _post("Scores rows, by MLflow's protocol.", _forms(_row(model))),
    }
    if not isinstance(model, ScoringServer):
        paths |= _recommender_paths(model)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": f"{model.name}, version {model.version}",
            "version": version("matchlake"),
        },
        "paths": paths,
    }


def _row(model: Served) -> dict[str, Any]:
    if not isinstance(model, ScoringServer):
        columns: dict[str, Any] = {
            "user_id": {"type": ["string", "integer", "null"]},
            "exclude_seen": {"type": ["array", "null"], "items": {"type": ["string", "integer"]}},
        }
        return _object(columns, ["user_id"])
    columns = {each.name: _column(each) for each in model.signature.columns}
    needed = list(columns)
    return _object(columns | {key: {} for key in model.signature.keys}, needed)


def _column(column: ServedColumn) -> dict[str, Any]:
    is_list = column.type.startswith("array<")
    value = _value(column.type[6:-1] if is_list else column.type)
    value = {"type": "array", "items": value} if is_list else value
    return value if "null" in column.refuses else value | {"type": [value["type"], "null"]}


def _value(kind: str) -> dict[str, Any]:
    if kind in _NUMBERS:
        limit = 2 ** (_NUMBERS[kind] - 1)
        return {"type": "integer", "minimum": -limit, "maximum": limit - 1}
    if kind in ("float", "double") or kind.startswith("decimal"):
        return {"type": "number"}
    if kind == "date":
        return {"type": "string", "format": "date"}
    return {"type": "boolean" if kind == "boolean" else "string"}


def _forms(row: dict[str, Any]) -> dict[str, Any]:
    values: dict[str, Any] = {"type": "array", "items": {"type": "array"}}
    split = {"columns": {"type": "array", "items": {"type": "string"}}, "data": values}
    by_column = {name: {"type": "array"} for name in row["properties"]}
    return {
        "oneOf": [
            _object({"dataframe_records": {"type": "array", "items": row}}),
            _object({"dataframe_split": _object(split)}),
            _object({"inputs": _object(by_column)}),
        ]
    }


_V2 = {
    "type": "object",
    "required": ["inputs"],
    "properties": {
        "id": {"type": "string"},
        "inputs": {
            "type": "array",
            "items": {"type": "object", "required": ["name", "shape", "datatype", "data"]},
        },
        "outputs": {"type": "array", "items": {"type": "object", "required": ["name"]}},
    },
}


def _recommender_paths(model: RecommenderServer) -> dict[str, Any]:
    """The routes that this export answers: without factors there are fewer."""
    k = {
        "name": "k",
        "in": "query",
        "schema": {"type": "integer", "minimum": 1, "maximum": MOST_LISTED, "default": 10},
    }
    exclude = {"name": "exclude", "in": "query", "schema": _IDS}
    items: dict[str, Any] = {"type": "object", "additionalProperties": {"type": "number"}}
    body = _object(
        {
            "items": items if model.signature.predicts_ratings else {"oneOf": [_IDS, items]},
            "k": k["schema"],
            "exclude": _IDS,
        },
        ["items"],
    )
    paths = {"/recommend/{user}": _get("The best items new to a user.", _path("user"), k, exclude)}
    if model.can_fold_in:
        paths["/recommend"] = _post("The best items for a new user with these items.", body)
    if model.can_list_similar:
        paths["/similar/{item}"] = _get("The most similar items.", _path("item"), k)
    return paths


_IDS: dict[str, Any] = {"type": "array", "items": {"type": "string"}}


def _path(name: str) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}


def _object(properties: dict[str, Any], required: list[str] | None = None) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties) if required is None else required,
        "additionalProperties": False,
    }


def _get(summary: str, *parameters: dict[str, Any]) -> dict[str, Any]:
    return {"get": {"summary": summary, "parameters": [*parameters], "responses": _RESPONSES}}


def _post(summary: str, schema: dict[str, Any]) -> dict[str, Any]:
    body = {"required": True, "content": {"application/json": {"schema": schema}}}
    return {"post": {"summary": summary, "requestBody": body, "responses": _RESPONSES}}


_RESPONSES = {
    "200": {"description": "The answer; the header x-model-version names the model."},
    "400": {"description": "The request is refused; `field` names what is wrong."},
    "429": {"description": "Too many requests at a time."},
}
