"""The limit of requests at a time, the token, slow bodies, and what the server says of errors."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from tests.support.served import Client, export_recommender, state_of

from matchlake.serve.app import application
from matchlake.serve.params import ServingParams
from matchlake.serve.state import State
from matchlake.serve.token import Token


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_recommender(tmp_path_factory.mktemp("doors") / "best")


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


async def _asked(state: State, messages: list[dict[str, Any]], **scope: Any) -> tuple[int, bytes]:
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
        "method": "POST",
        "path": "/recommend",
        "raw_path": b"/recommend",
        "query_string": b"",
        "headers": [(b"content-type", b"application/json")],
        "http_version": "1.1",
        "scheme": "http",
        "server": ("test", 80),
        **scope,
    }
    await application(state)(asked, receive, send)
    return sent[0]["status"] if sent else 0, sent[-1]["body"] if sent else b""


def test_a_slow_body_and_a_lost_client_end(folder: Path) -> None:
    state = state_of(folder, request_seconds=0.05)
    part = {"type": "http.request", "body": b"{", "more_body": True}
    status, body = asyncio.run(_asked(state, [part]))
    assert (status, b"did not arrive in time" in body) == (408, True)
    status, _ = asyncio.run(_asked(state, [part, {"type": "http.disconnect"}]))
    assert status == 0
    big = {"type": "http.request", "body": b" " * 600_000, "more_body": True}
    status, _ = asyncio.run(_asked(state, [{**big}, {**big}, {**big}]))
    assert status == 413


def test_too_many_requests_are_told_so_and_the_others_answered(folder: Path) -> None:
    state = state_of(folder, max_concurrent=2, request_seconds=0.3)
    app_state, body = state, b'{"items": {"i0": 1.0}}'

    async def flood() -> list[tuple[int, bytes]]:
        slow = [{"type": "http.request", "body": b"{", "more_body": True}]
        running = [asyncio.create_task(_asked(app_state, [*slow])) for _ in range(1)]
        await asyncio.sleep(0.05)
        whole = {"type": "http.request", "body": body, "more_body": False}
        good = await _asked(app_state, [whole])
        return [good, *await asyncio.gather(*running)]

    found = asyncio.run(flood())
    assert [status for status, _ in found] == [200, 408]
    one = state_of(folder, max_concurrent=1, request_seconds=0.3)
    from matchlake.serve.doors import Doors  # noqa: PLC0415 - the one test that looks inside

    app: Any = application(one)
    assert isinstance(app, Doors)
    app._in_flight = 1
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "GET", "path": "/ping", "headers": []}
    asyncio.run(app(scope, None, send))
    assert sent[0]["status"] == 429
    assert (b"retry-after", b"1") in sent[0]["headers"]


def test_a_failure_is_a_500_without_values(folder: Path, caplog: Any) -> None:
    state = state_of(folder)
    with Client(state) as client:
        state.current.model = None  # type: ignore[assignment]
        answer = client.get("/recommend/somebody")
        assert (answer.status_code, "somebody" in answer.text + caplog.text) == (500, False)


def test_an_open_address_needs_a_token() -> None:
    with pytest.raises(ValidationError, match="set token to a secret, or allow_open"):
        ServingParams(host="0.0.0.0")  # noqa: S104 - it is refused
    assert ServingParams(host="0.0.0.0", allow_open=True).host == "0.0.0.0"  # noqa: S104
