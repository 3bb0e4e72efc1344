"""Responses as ASGI messages: JSON with the model's name and version, errors with their field."""

import json
from collections.abc import Mapping
from typing import Any

from starlette.responses import Response

from matchlake.serve.errors import RequestError

_CODES = {401: "UNAUTHENTICATED", 404: "NOT_FOUND", 405: "METHOD_NOT_ALLOWED", 429: "TOO_MANY"}
_HEADERS = {401: {"www-authenticate": "Bearer"}, 429: {"retry-after": "1"}}
_JSON = "application/json"
_ENCODER = json.JSONEncoder(separators=(",", ":"), allow_nan=False)


def encoded(value: Any) -> bytes:
    """Returns a value as JSON, in ASCII."""
    return _ENCODER.encode(value).encode("ascii")


def answer(value: Any, model: Any = None, headers: Mapping[str, str] | None = None) -> Response:
    """Returns a JSON response; if a model is given, headers name it."""
    named = {} if model is None else headers_of(model)
    return Response(encoded(value), headers={**named, **(headers or {})}, media_type=_JSON)


def headers_of(model: Any) -> dict[str, str]:
    """Returns the headers that name the model of a response."""
    return {"x-model-name": _ascii(model.name), "x-model-version": _ascii(model.version)}


def refusal(error: RequestError, headers: Mapping[str, str] | None = None) -> Response:
    """Returns the response to a refused request, in the form of MLflow's errors."""
    body = {"error_code": _CODES.get(error.status, "BAD_REQUEST"), "message": str(error)}
    if error.field is not None:
        body["field"] = str(error.field)[:200]
    of_status = _HEADERS.get(error.status, {})
    return Response(encoded(body), error.status, {**of_status, **(headers or {})}, _JSON)


def _ascii(text: str) -> str:
    return text.encode("ascii", "backslashreplace").decode()
