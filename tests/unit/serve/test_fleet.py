"""What the command and its processes tell each other, also when one of them ends."""

import asyncio
import socket
import subprocess
import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from matchlake.errors import ModelError
from matchlake.serve import fleet
from matchlake.serve.fleet import Fleet, Worker
from matchlake.serve.settings import receive, send
from matchlake.serve.worker import _tell, _until_alone


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    own, theirs = socket.socketpair()
    with own, theirs:
        yield own, theirs


def worker(channel: socket.socket, program: str) -> Worker:
    """A process without a server, which runs a program."""
    made = Worker.__new__(Worker)
    made.channel = channel
    made.process = subprocess.Popen([sys.executable, "-c", program])
    return made


@pytest.mark.parametrize("unread", [b"", b"ready"])
def test_a_process_ends_when_the_command_is_gone(pair: Any, unread: bytes) -> None:
    """Also if the command, which was killed, had not read all that it was told."""
    own, theirs = pair
    theirs.sendall(unread)
    own.close()
    server: Any = SimpleNamespace(should_exit=False)
    asyncio.run(asyncio.wait_for(_until_alone(theirs, server), 5))
    assert server.should_exit
    _tell(theirs, {"name": "best"})


@pytest.mark.parametrize("sent", [b"", b"\0\0\0", b"\0" * 7 + b"\x09{", b"\0" * 8])
def test_a_channel_that_ends_early_says_nothing(pair: Any, sent: bytes) -> None:
    own, theirs = pair
    theirs.sendall(sent)
    theirs.close()
    own.settimeout(5)
    assert receive(own) == (None, [])


def test_a_process_that_starts_again_and_fails_says_why(pair: Any) -> None:
    own, theirs = pair
    ended = worker(own, "raise SystemExit(3)")
    ended.process.wait()
    send(theirs, {"name": "best"})
    send(theirs, {"error": "the token is gone"})
    theirs.close()
    assert ended.reason() == "the token is gone"
    assert ended.reason() == "exit code 3"


def test_a_process_that_cannot_start_leaves_the_others(
    pair: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    asked: list[dict[str, Any]] = []

    def refuse(*_: Any, **options: Any) -> Any:
        asked.append(options)
        raise BlockingIOError(11, "Resource temporarily unavailable")

    ended = worker(pair[0], "raise SystemExit(3)")
    ended.process.wait()
    pair[1].close()
    whole = Fleet({"workers": 1}, pair[0], ended)
    monkeypatch.setattr(subprocess, "Popen", refuse)
    whole._restart_ended()
    assert "is restarted: exit code 3" in caplog.text
    assert "process 0 of the server cannot start" in caplog.text
    assert asked[0]["stdin"] == subprocess.DEVNULL
    whole._restart_ended()
    assert len(asked) == 1


def test_a_start_that_fails_says_why(pair: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    own, theirs = pair
    monkeypatch.setattr(fleet, "_START_SECONDS", 0.1)
    slow = worker(own, "import time; time.sleep(60)")
    with pytest.raises(ModelError, match=r"the model is not loaded after 0\.1 seconds"):
        slow.wait_ready()
    slow.end()
    slow.process.wait()
    theirs.close()
    with pytest.raises(ModelError, match="a process ended, exit code -15"):
        slow.wait_ready()
