"""The middleware of every request: limit of concurrent requests, token, counters, errors."""

import asyncio
import logging
import time
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from matchlake.errors import ModelError
from matchlake.serve.answers import refusal
from matchlake.serve.errors import RequestError
from matchlake.serve.metrics import ROUTES
from matchlake.serve.state import State
from matchlake.serve.tables import parsed

_log = logging.getLogger(__name__)
_PROBES = ("/ping", "/health", "/v2/health/live", "/v2/health/ready")
"""Health checks need no token. They are answered under load, too, or a load balancer would stop the
process."""
_OPEN = (*_PROBES, "/")
"""The page contains nothing of the model, and asks for the token."""
_GONE = 499
_FAILED = 500


class Middleware:
    """The outermost layer of the application."""

    def __init__(self, app: ASGIApp, state: State) -> None:
        self._app, self._state = app, state
        self._in_flight = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        if scope["type"] != "http":
            return
        begin, state = time.perf_counter(), self._state
        counted = _Counted(send)
        self._in_flight += 1
        state.metrics.gauge(self._in_flight, state.log.waiting if state.log else 0)
        try:
            self._check(scope)
            # The scope needs an app, so that the router raises for an unknown path or method.
            await self._app({**scope, "app": self}, receive, counted)
        except RequestError as error:
            await self._refuse(error, scope, receive, counted)
        except ModelError:
            # The loaded model has reproduced the outputs of its export, so the values are the
            # cause.
            found = RequestError("The model cannot score these values.")
            await self._refuse(found, scope, receive, counted)
        except HTTPException as error:
            found = RequestError(error.detail, None, error.status_code)
            await self._refuse(found, scope, receive, counted, error.headers)
        except (ClientDisconnect, asyncio.CancelledError):
            counted.status = counted.status or _GONE
        except Exception as error:  # noqa: BLE001 - a request never ends the server
            # The message is not logged: it may contain values of the request.
            _log.error("a request failed: %s at %s", type(error).__name__, _place(error))
            failed = RequestError("The server failed; its log says where.", None, _FAILED)
            await self._refuse(failed, scope, receive, counted)
        finally:
            self._in_flight -= 1
            seconds = time.perf_counter() - begin
            state.metrics.request(_route(scope["path"]), counted.status or _GONE, seconds)
            state.metrics.count("matchlake_sent_bytes_total", counted.bytes)
            state.metrics.gauge(self._in_flight, state.log.waiting if state.log else 0)

    def _check(self, scope: Scope) -> None:
        if self._in_flight > self._state.params.max_concurrent and scope["path"] not in _PROBES:
            raise RequestError("Too many requests at a time. Try again later.", None, 429)
        token = self._state.token
        if token is None or scope["path"] in _OPEN:
            return
        found = [value for name, value in scope["headers"] if name == b"authorization"]
        if len(found) != 1 or not token.accepts(found[0]):
            raise RequestError("A valid bearer token is needed.", None, 401)

    async def _refuse(
        self,
        error: RequestError,
        scope: Scope,
        receive: Receive,
        counted: "_Counted",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        if not counted.status:
            await refusal(error, headers)(scope, receive, counted)


class _Counted:
    """Forwards messages, and records the status and the bytes of the response."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.status = self.bytes = 0

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
        else:
            self.bytes += len(message.get("body", b""))
        await self._send(message)


def _place(error: Exception) -> str:
    """Returns the innermost lines of an error's traceback, without values."""
    frames = traceback.extract_tb(error.__traceback__)[-3:]
    return ", ".join(f"{Path(each.filename).name}:{each.lineno}" for each in frames)


def _route(path: str) -> str:
    first = path.split("/", 2)[1] if path.startswith("/") else ""
    if first == "v2":
        return "infer" if path.endswith("/infer") else "other"
    return first if first in ROUTES else "other"


async def body_of(request: Request, state: State) -> dict[str, Any]:
    """Reads the JSON object of a request; raises RequestError if it is too large or not JSON."""
    kind = request.headers.get("content-type", "application/json").partition(";")[0]
    if kind.strip().lower() != "application/json" or "content-encoding" in request.headers:
        raise RequestError("The body must be application/json, not compressed.", None, 415)
    most = state.params.max_body_bytes
    length = request.headers.get("content-length", "0")
    if length.isdecimal() and int(length[:20]) > most:
        raise _too_large(most)
    chunks, size = [], 0
    # If the body does not arrive in time, `connection` closes the connection.
    async for chunk in request.stream():
        size += len(chunk)
        if size > most:
            raise _too_large(most)
        chunks.append(chunk)
    state.metrics.count("matchlake_received_bytes_total", size)
    return parsed(b"".join(chunks))


def _too_large(most: int) -> RequestError:
    return RequestError(f"The body has more than {most} bytes.", "body", 413)
