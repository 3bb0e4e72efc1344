"""The routes of KServe's open inference protocol, version 2: /v2, health, metadata, infer."""

from importlib.metadata import version
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from matchlake.model_store.served_signature import ServedColumn
from matchlake.serve.answers import answer
from matchlake.serve.errors import RequestError
from matchlake.serve.lists import lists_of
from matchlake.serve.loading import Served
from matchlake.serve.middleware import body_of
from matchlake.serve.mlflow_routes import scored_rows
from matchlake.serve.recommender import RecommenderServer
from matchlake.serve.scoring import ScoringServer
from matchlake.serve.state import State
from matchlake.serve.tables import tensors

_TYPES = {
    "boolean": "BOOL",
    "tinyint": "INT8",
    "smallint": "INT16",
    "int": "INT32",
    "bigint": "INT64",
    "float": "FP32",
    "double": "FP64",
}
_OUTPUTS = {"DOUBLE": "FP64", "STRING": "BYTES", "INT": "INT32"}


def routes(state: State) -> list[BaseRoute]:
    """Returns the routes of the protocol."""

    async def server(_: Request) -> Response:
        return answer({"name": "matchlake", "version": version("matchlake"), "extensions": []})

    async def live(_: Request) -> Response:
        return answer({"live": True})

    async def ready(_: Request) -> Response:
        if state.is_stopping:
            return Response(b'{"ready":false}', 503, media_type="application/json")
        return answer({"ready": True})

    async def model_ready(request: Request) -> Response:
        model = _named(request, state)
        return answer({"name": model.name, "ready": not state.is_stopping}, model)

    async def metadata(request: Request) -> Response:
        model = _named(request, state)
        return answer(described(model), model)

    async def infer(request: Request) -> Response:
        data = await body_of(request, state)
        return await _inferred(state, _named(request, state), data)

    found = [Route("/v2", server), Route("/v2/health/live", live)]
    found.append(Route("/v2/health/ready", ready))
    for path in ("/v2/models/{name}", "/v2/models/{name}/versions/{version}"):
        found.append(Route(f"{path}/infer", infer, methods=["POST"]))
        found.append(Route(f"{path}/ready", model_ready))
        found.append(Route(path, metadata))
    return [*found]


async def _inferred(state: State, model: Served, data: dict[str, Any]) -> Response:
    columns, wanted, request_id = tensors(data), _wanted(data, model), data.get("id")
    if request_id is not None and not isinstance(request_id, str):
        raise RequestError("id must be a string.", "id")
    params = data.get("parameters") or {}
    if not isinstance(params, dict):
        raise RequestError("parameters must be an object.", "parameters")
    if isinstance(model, ScoringServer):
        scored, headers = await scored_rows(state, model, columns)
        found = _tensors(model, scored.columns)
    else:
        lists, headers = await lists_of(state, model, columns, params)
        found = _list_tensors([(each.items, each.scores) for each in lists])
    outputs = [each for each in found if wanted is None or each["name"] in wanted]
    body = {"model_name": model.name, "model_version": model.version, "outputs": outputs}
    return answer(body | ({"id": request_id} if request_id else {}), model, headers)


def _named(request: Request, state: State) -> Served:
    model = state.model
    name, number = request.path_params["name"], request.path_params.get("version")
    if name != model.name or number not in (None, model.version):
        asked = str(name)[:80] + ("" if number is None else f" version {str(number)[:80]}")
        raise RequestError(
            f"There is no model {asked}; this server has {model.name} version {model.version}.",
            "name",
            404,
        )
    return model


def described(model: Served) -> dict[str, Any]:
    """Returns the metadata of a model."""
    inputs, outputs = _described_lists()
    if isinstance(model, ScoringServer):
        inputs = [
            {"name": each.name, "datatype": _datatype(each), "shape": _shape(each.type)}
            for each in model.signature.columns
        ]
        outputs = [
            {"name": each.name, "datatype": _output_type(each.type), "shape": _shape(each.type)}
            for each in model.signature.outputs
        ]
    return {
        "name": model.name,
        "versions": [model.version],
        "platform": "onnxruntime_onnx",
        "inputs": inputs,
        "outputs": outputs,
    }


def _described_lists() -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    return (
        [{"name": "user_id", "datatype": "BYTES", "shape": [-1]}],
        [
            {"name": "item_id", "datatype": "BYTES", "shape": [-1, -1]},
            {"name": "score", "datatype": "FP32", "shape": [-1, -1]},
        ],
    )


def _datatype(column: ServedColumn) -> str:
    element = column.type.removeprefix("array<").removesuffix(">")
    return _TYPES.get(element, "FP64" if column.number else "BYTES")


def _output_type(kind: str) -> str:
    return _OUTPUTS[kind.removeprefix("ARRAY<").removesuffix(">")]


def _shape(kind: str) -> list[int]:
    return [-1, -1] if kind.lower().startswith("array<") else [-1]


def _wanted(data: dict[str, Any], model: Served) -> set[str] | None:
    """Returns the outputs that a request names; None for all."""
    listed = data.get("outputs")
    if listed is None:
        return None
    names = [each.get("name") if isinstance(each, dict) else None for each in _list(listed)]
    if isinstance(model, RecommenderServer):
        known = {"item_id", "score"}
    else:
        known = {each.name for each in model.signature.outputs}
    for name in names:
        if not isinstance(name, str) or name not in known:
            raise RequestError(
                f"There is no output {str(name)[:80]!r}; the model has {', '.join(sorted(known))}.",
                "outputs",
            )
    return {name for name in names if isinstance(name, str)}


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise RequestError("outputs must be a list of objects with a name.", "outputs")
    return value


def _tensors(model: ScoringServer, columns: dict[str, list[Any]]) -> list[dict[str, Any]]:
    found = []
    for output in model.signature.outputs:
        values, shape = columns[output.name], [len(columns[output.name])]
        if output.type.startswith("ARRAY<"):
            width = next((len(row) for row in values if row is not None), 0)
            shape.append(width)
            values = [each for row in values for each in (row or [None] * width)]
        kind = _output_type(output.type)
        found.append({"name": output.name, "datatype": kind, "shape": shape, "data": values})
    return found


def _list_tensors(lists: list[tuple[list[Any], list[float]]]) -> list[dict[str, Any]]:
    """Returns lists of different lengths, padded with null."""
    width = max((len(items) for items, _ in lists), default=0)
    found = []
    for place, (name, kind) in enumerate((("item_id", "BYTES"), ("score", "FP32"))):
        rows = [each[place] for each in lists]
        data = [v for row in rows for v in [*row, *[None] * (width - len(row))]]
        found.append({"name": name, "datatype": kind, "shape": [len(lists), width], "data": data})
    return found
