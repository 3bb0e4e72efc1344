"""The command itself: its processes take a new export, restart after kill -9, and end in order."""

import contextlib
import http.client
import json
import re
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from tests.support.saved_models import register, tracker_in
from tests.support.served import export_recommender
from tests.support.sources import ROOT

PROGRAM = "from matchlake.cli.main import main; main()"
SECONDS = 120


@contextlib.contextmanager
def serving(path: Path, *options: str, scheme: str = "http") -> Iterator[tuple[int, Any]]:
    """The port and the process of a server that answers; it ends with SIGTERM and code 0."""
    command = [sys.executable, "-c", PROGRAM, "serve", str(path), "--port", "0", *options]
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.search(rf"at {scheme}://127.0.0.1:(\d+) ", line)
        assert found, line + (process.stderr.read() if process.stderr else "")
        yield int(found[1]), process
        process.terminate()
        assert process.wait(SECONDS) == 0
    finally:
        process.kill()
        process.communicate()


def ask(port: int, path: str = "/recommend/ann") -> tuple[int, str]:
    link = http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)
    with contextlib.closing(link):
        link.request("GET", path)
        answer = link.getresponse()
        return answer.status, answer.read().decode()


def version(port: int) -> str:
    status, body = ask(port)
    assert status == 200, body
    return str(json.loads(body)["model_version"])


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def workers_of(process: Any) -> list[psutil.Process]:
    found = []
    for each in psutil.Process(process.pid).children():
        with contextlib.suppress(psutil.Error):
            if "matchlake.serve" in each.cmdline():
                found.append(each)
    return found


def test_a_server_takes_a_new_export_and_loses_no_answer(tmp_path: Path) -> None:
    path = export_recommender(tmp_path / "best", "1")
    other = export_recommender(tmp_path / "other", "2")
    wrong: list[Any] = []
    with serving(path) as (port, process):
        assert version(port) == "1"
        done = threading.Event()

        def load() -> None:
            while not done.is_set():
                answer = ask(port)
                if answer[0] != 200:
                    wrong.append(answer)

        thread = threading.Thread(target=load)
        thread.start()
        path.rename(tmp_path / "old")
        other.rename(path)
        until(lambda: version(port) == "2")
        done.set()
        thread.join()
        (worker,) = workers_of(process)
        worker.kill()
        until(lambda: any(each.pid != worker.pid for each in workers_of(process)))
        assert version(port) == "2"
        assert "matchlake_model_swaps_total 1" in ask(port, "/metrics")[1]
        half_open(port)
        assert version(port) == "2"
    assert wrong == []
    with pytest.raises(OSError, match="refused"):
        ask(port)


def half_open(port: int) -> None:
    """Clients that send a part, garbage, or end their side at once."""
    for sent in (b"", b"GET /ping HT", b"\x16\x03\x01\x02\x00", b"POST / HTTP/1.1\r\na: b\r\n"):
        with socket.create_connection(("127.0.0.1", port), timeout=SECONDS) as link:
            link.sendall(sent)
            link.shutdown(socket.SHUT_WR)


@pytest.mark.soak
def test_a_killed_command_leaves_no_process(tmp_path: Path) -> None:
    path = export_recommender(tmp_path / "best", "1")
    with contextlib.suppress(AssertionError), serving(path, "--workers", "2") as (_, process):
        first = workers_of(process)
        assert len(first) == 2
        first[0].kill()
        until(lambda: len(set(workers_of(process)) - {first[0]}) == 2)
        time.sleep(5)  # the new process has told that it is ready; nobody reads it
        workers = workers_of(process)
        process.send_signal(signal.SIGKILL)
        until(lambda: not any(each.is_running() for each in workers))
    assert not any(each.is_running() for each in workers)


@pytest.mark.soak
def test_slow_clients_and_floods_leave_the_others_answered(tmp_path: Path) -> None:
    path = export_recommender(tmp_path / "best", "1")
    options = ("--set", "serving.request_seconds=1", "--set", "serving.max_connections=40")
    with serving(path, *options) as (port, _), contextlib.ExitStack() as stack:
        slow = [
            stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=SECONDS))
            for _ in range(20)
        ]
        for link in slow:
            link.sendall(b"POST /recommend HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n")
        assert version(port) == "1"
        begin = time.monotonic()
        for link in slow:
            with contextlib.suppress(ConnectionError):
                assert link.recv(10) == b""
        assert time.monotonic() - begin < SECONDS / 2
        flood = [
            stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=SECONDS))
            for _ in range(60)
        ]
        time.sleep(1.5)
        assert version(port) == "1"
        assert len(flood) == 60
        refused = ask(port, "/metrics")[1].split("\nmatchlake_connections_refused_total ")[1]
        assert int(refused.split()[0]) >= 19


@pytest.mark.soak
def test_tls_and_a_token(tmp_path: Path) -> None:
    path = export_recommender(tmp_path / "best", "1")
    subject = ["-subj", "/CN=localhost", "-days", "2", "-nodes"]
    keys = ["-keyout", str(tmp_path / "key.pem"), "-out", str(tmp_path / "cert.pem")]
    make = ["openssl", "req", "-x509", "-newkey", "rsa:2048", *keys, *subject]
    subprocess.run(make, check=True, capture_output=True)
    secrets = tmp_path / "secrets.json"
    secrets.write_text(json.dumps({"serve": {"token": "a long token"}}))
    secrets.chmod(0o600)
    tls = {"certificate": str(tmp_path / "cert.pem"), "key": str(tmp_path / "key.pem")}
    conf = tmp_path / "conf"
    conf.mkdir()
    (conf / "base.yml").write_text(
        "checkpoints: x\n"
        f"secrets: {{stores: [file], file: {secrets}}}\n"
        f"serving: {{tls: {json.dumps(tls)}, token: {{scope: serve, key: token}}}}\n"
    )
    (conf / "local.yml").write_text("lakehouse: .\n")
    options = ["--conf-dir", str(conf)]
    with serving(path, *options, scheme="https") as (port, _):
        context = ssl.create_default_context(cafile=tls["certificate"])
        for token, status in (("a long token", 200), ("another", 401)):
            link = http.client.HTTPSConnection("localhost", port, context=context)
            link.request("GET", "/recommend/ann", headers={"authorization": f"Bearer {token}"})
            assert link.getresponse().status == status


@pytest.mark.soak
def test_a_new_champion_of_the_registry_is_served(tmp_path: Path) -> None:
    tracker = tracker_in(tmp_path / "lake")
    register(tracker, tmp_path / "first")
    conf = tmp_path / "conf"
    conf.mkdir()
    (conf / "base.yml").write_text("checkpoints: x\nserving: {refresh_seconds: 1}\n")
    (conf / "local.yml").write_text(f"lakehouse: {tmp_path / 'lake'}\n")
    with serving(Path("recommender"), "--conf-dir", str(conf)) as (port, _):
        assert version(port) == "1"
        register(tracker, tmp_path / "second")
        until(lambda: version(port) == "2")
        assert json.loads(ask(port, "/similar/i0?k=2")[1])["model_version"] == "2"
    with serving(Path("recommender"), "--conf-dir", str(conf)) as (port, _):
        assert version(port) == "2"
