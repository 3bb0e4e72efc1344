"""The limit of requests at a time, the token, slow bodies, and what the server says of errors."""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from tests.support.served import Client, export_recommender, state_of
from uvicorn.server import ServerState

from matchlake.errors import ParameterError
from matchlake.serve.app import application
from matchlake.serve.connection import connection_class
from matchlake.serve.metrics import Metrics
from matchlake.serve.params import ServingParams
from matchlake.serve.state import State, Token

REFUSED = "matchlake_connections_refused_total"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_recommender(tmp_path_factory.mktemp("served") / "best")


def test_a_token_is_needed_and_may_rotate(folder: Path) -> None:
    values, now = iter(["first", "second"]), [0.0]
    state = state_of(folder)
    state.token = Token(lambda: next(values), 60, lambda: now[0])
    with Client(state) as client:
        assert client.get("/ping").status_code == 200
        for header in ({}, {"authorization": "Bearer second"}, {"authorization": "Basic first"}):
            answer = client.get("/recommend/ann", headers=header)
            assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
            assert "first" not in answer.text
        assert client.get("/metrics").status_code == 401
        assert (client.get("/").status_code, "Token" in client.get("/").text) == (200, True)
        good = {"authorization": "bearer first"}
        assert client.get("/recommend/ann", headers=good).status_code == 200
        now[0] = 61
        state.token.refresh()
        assert client.get("/recommend/ann", headers=good).status_code == 401


def test_a_store_that_fails_leaves_the_last_token(folder: Path) -> None:
    def get() -> str:
        if calls:
            raise OSError("no store")
        calls.append(1)
        return "first"

    calls: list[int] = []
    token = Token(get, 0, lambda: float(len(calls)))
    with pytest.raises(OSError, match="no store"):
        token.refresh()
    assert token.accepts(b"Bearer first")
    assert folder.exists()


async def _asked(
    state: State, messages: list[dict[str, Any]], app: Any = None, path: str = "/recommend"
) -> tuple[int, bytes]:
    """The status and body of a POST whose body arrives in `messages`; None waits for ever."""
    sent: list[Any] = []

    async def receive() -> Any:
        if not messages:
            await asyncio.sleep(3600)
        return messages.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    asked = {
        "type": "http",
        "method": "POST" if messages else "GET",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [(b"content-type", b"application/json")],
        "http_version": "1.1",
        "scheme": "http",
        "server": ("test", 80),
    }
    await (app or application(state))(asked, receive, send)
    return sent[0]["status"] if sent else 0, sent[-1]["body"] if sent else b""


def test_a_lost_client_and_a_large_body_end(folder: Path) -> None:
    state = state_of(folder)
    part = {"type": "http.request", "body": b"{", "more_body": True}
    status, _ = asyncio.run(_asked(state, [part, {"type": "http.disconnect"}]))
    assert status == 0
    big = {"type": "http.request", "body": b" " * 600_000, "more_body": True}
    status, _ = asyncio.run(_asked(state, [{**big}, {**big}, {**big}]))
    assert status == 413


def test_too_many_requests_are_told_so_and_the_others_answered(folder: Path) -> None:
    state = state_of(folder, max_concurrent=1)
    app = application(state)

    async def flood() -> list[int]:
        """A client that sends half a body, another one meanwhile, and one after it has left."""
        half = [{"type": "http.request", "body": b"{", "more_body": True}]
        slow = asyncio.create_task(_asked(state, half, app))
        await asyncio.sleep(0)
        whole = {"type": "http.request", "body": b'{"items": {"i0": 1.0}}', "more_body": False}
        refused = await _asked(state, [{**whole}], app)
        probed = await _asked(state, [], app, "/ping")
        slow.cancel()
        await asyncio.gather(slow, return_exceptions=True)
        answered = await _asked(state, [{**whole}], app)
        assert (b"Too many requests" in refused[1], state.metrics.value(REFUSED)) == (True, 0)
        return [refused[0], probed[0], answered[0]]

    assert asyncio.run(flood()) == [429, 200, 200]


def test_a_failure_is_a_500_without_values(folder: Path, caplog: Any) -> None:
    state = state_of(folder)
    with Client(state) as client:
        state.current.model = None  # type: ignore[assignment]
        answer = client.get("/recommend/somebody")
        assert (answer.status_code, "somebody" in answer.text + caplog.text) == (500, False)
        assert re.search(r"AttributeError at .*recommend_routes\.py:\d+", caplog.text)


def test_a_wrong_method_is_told_the_right_one(folder: Path) -> None:
    with Client(state_of(folder)) as client:
        answer = client.get("/invocations")
        assert (answer.status_code, answer.headers["allow"]) == (405, "POST")


@contextlib.asynccontextmanager
async def connected(app: Any, state: ServerState) -> AsyncIterator[tuple[Any, Any]]:
    """A reader and a writer at a server of `app`, whose connections have half a second."""
    config = uvicorn.Config(app, http=connection_class(Metrics(), 9, 0.5), lifespan="off")
    kind: Any = config.http
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: kind(config, state, {}), "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname(), limit=1)
    yield reader, writer
    writer.close()
    server.close()


def test_a_client_that_does_not_read_its_answer_is_disconnected() -> None:
    async def answer(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b" " * 20_000_000})

    async def connections() -> list[int]:
        state = ServerState()
        async with connected(answer, state) as (_, writer):
            writer.write(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
            await asyncio.sleep(0.2)
            found = [len(state.connections)]
            await asyncio.sleep(1.5)
            return [*found, len(state.connections)]

    assert asyncio.run(connections()) == [1, 0]


OFFER = b"Connection: Upgrade, HTTP2-Settings\r\nUPGRADE: h2c\r\nHTTP2-Settings: AAE\r\n"
SIZED = b"POST / HTTP/1.1\r\nhost: x\r\n" + OFFER + b"content-length: 3\r\n\r\nabc"
CHUNKED = (
    b"POST / HTTP/1.1\r\n" + OFFER + b"transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
)
PLAIN = b"\r\nPOST / HTTP/1.1\r\ncontent-length: 13\r\n\r\n\r\nupgrade: d\n"


@pytest.mark.parametrize("step", [1, 7, 10_000])
@pytest.mark.parametrize("offer", [SIZED, CHUNKED])
def test_an_offer_to_upgrade_is_ignored_and_its_body_is_read(offer: bytes, step: int) -> None:
    """As Java's client sends it, in packets of any size; other requests follow."""

    async def bodies() -> bytes:
        async with connected(_echo, ServerState()) as (reader, writer):
            sent = offer + PLAIN + b"GET / HTTP/1.1\r\nconnection: close\r\n\r\n"
            for begin in range(0, len(sent), step):
                writer.write(sent[begin : begin + step])
                await asyncio.sleep(0)
            found: bytes = await reader.read()
        return found

    answers = asyncio.run(bodies()).split(b"HTTP/1.1 200 OK\r\n")[1:]
    assert [each.partition(b"\r\n\r\n")[2] for each in answers] == [
        b"[abc]", b"[\r\nupgrade: d\n]", b"[]",
    ]  # fmt: skip


def test_connect_and_endless_headers_end_the_connection() -> None:
    async def answered(sent: bytes) -> bytes:
        async with connected(_echo, ServerState()) as (reader, writer):
            writer.write(sent)
            try:
                return bytes(await reader.read())
            except ConnectionResetError:
                return b"reset"

    follows = b"GET /secret HTTP/1.1\r\n\r\n"
    found = asyncio.run(answered(b"CONNECT x:1 HTTP/1.1\r\nhost: x\r\n\r\n" + follows))
    assert found.count(b"HTTP/1.1 ") <= 1
    endless = b"GET / HTTP/1.1\r\na: " + b"b" * 70_000
    assert asyncio.run(answered(endless)) in (b"", b"reset")


async def _echo(_: Any, receive: Any, send: Any) -> None:
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message.get("body", b""), message.get("more_body", False)
    size = str(len(body) + 2).encode()
    start = {"type": "http.response.start", "status": 200, "headers": [(b"content-length", size)]}
    await send(start)
    await send({"type": "http.response.body", "body": b"[" + body + b"]"})


def test_an_open_address_needs_a_token() -> None:
    with pytest.raises(ParameterError, match="set token to a secret, or allow_open"):
        ServingParams(host="0.0.0.0")  # noqa: S104 - it is refused
    assert ServingParams(host="0.0.0.0", allow_open=True).host == "0.0.0.0"  # noqa: S104
