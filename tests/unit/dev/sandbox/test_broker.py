"""The broker without its process: state, ports, settings, and every way not to start."""

import errno
import os
import select
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from tests.support.sandbox_fakes import fake_java, leave_state, shutil_usage

from matchlake.dev.sandbox import broker
from matchlake.dev.sandbox.broker_log import why_it_ended
from matchlake.dev.sandbox.broker_settings import (
    forget_inner_password,
    listener_settings,
    write_settings,
)
from matchlake.dev.sandbox.process import end_process, find_process, spawn_detached
from matchlake.dev.sandbox.topics import create_topic
from matchlake.errors import SandboxError
from matchlake.io.ports import choose_port, is_port_free
from matchlake.io.secrets import Secret


@pytest.fixture
def bystander() -> Iterator[subprocess.Popen[bytes]]:
    """A process that has nothing to do with the broker."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        yield process


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield server.getsockname()[1]


@pytest.fixture
def only_java(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is all of PATH, for a `java` of the test's own; there is a good one in it."""
    fake_java(tmp_path / "bin", 'openjdk version "17.0.15" 2025-04-15')
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setattr(broker, "install_jars", lambda *_: 0)
    return tmp_path / "bin"


def test_stale_state_with_anothers_pid_harms_nobody(
    tmp_path: Path, bystander: subprocess.Popen[bytes]
) -> None:
    started = psutil.Process(bystander.pid).create_time()
    leave_state(tmp_path, pid=bystander.pid, started=started)
    state = broker.broker_status(tmp_path)
    assert (state.phase, state.pid, state.port) == ("crashed", 0, 21_000)
    assert not broker.stop_broker(tmp_path)
    assert bystander.poll() is None
    assert broker.broker_status(tmp_path).phase == "stopped"


def test_nothing_started_is_nothing_to_stop(tmp_path: Path) -> None:
    root = tmp_path / "never"
    assert broker.broker_status(root).phase == "absent"
    assert not broker.stop_broker(root)
    assert not root.exists()


@pytest.mark.parametrize("left", ["{", '{"unknown": 1}', None])
@pytest.mark.parametrize("inner", ["", "secret"])
def test_without_a_state_the_broker_is_found_by_its_settings(
    tmp_path: Path, left: str | None, inner: str
) -> None:
    home = tmp_path / "kafka"
    home.mkdir()
    write_settings(home, 21_000, 21_001, inner)
    if left is not None:
        (home / "state.json").write_text(left)
    told = broker.BrokerState("stopped", 21_000, 21_001, asks_login=bool(inner))
    assert broker.broker_status(tmp_path) == told


def test_a_detached_process_keeps_no_file_of_its_starter_open(tmp_path: Path) -> None:
    """A lock of a shell, such as that of `flock 8`, would be held until the broker stops."""
    reads, writes = os.pipe()
    os.set_inheritable(writes, True)  # noqa: FBT003 - takes no name
    with os.fdopen(reads, "rb") as end:
        spawn_detached(
            [sys.executable, "-c", "import time; time.sleep(60)", str(tmp_path)], tmp_path / "log"
        )
        os.close(writes)
        try:
            assert select.select([end], [], [], 10)[0] == [end]
            assert end.read() == b""
        finally:
            found = find_process("-c", str(tmp_path))
            assert found is not None
            end_process(found, 5)


def test_process_is_found_by_its_arguments_and_ended_even_if_it_will_not(tmp_path: Path) -> None:
    deaf = "import signal; signal.signal(15, signal.SIG_IGN); print(1, flush=True); input()"
    command = [sys.executable, "-c", deaf, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert find_process("-c", str(tmp_path / "other")) is None
        found = find_process("-c", str(tmp_path))
        assert found is not None
        assert found.pid == process.pid
        end_process(found, grace=0.1)
        assert find_process("-c", str(tmp_path)) is None


def test_ports(taken_port: int) -> None:
    assert not is_port_free(taken_port)
    mine = f"{psutil.Process().name()} (process {psutil.Process().pid})"
    with pytest.raises(SandboxError) as caught:
        choose_port(taken_port)
    assert str(caught.value).startswith(f"Port {taken_port} is taken by {mine}: ")
    chosen = choose_port(None)
    assert choose_port(None, last=chosen) == chosen, "the last one again"
    assert choose_port(None, last=chosen, avoid=chosen) != chosen
    assert choose_port(None, last=taken_port) != taken_port


def test_listeners_are_on_this_machine_only() -> None:
    settings = listener_settings(21_000, 21_001)
    assert settings["listeners"] == "CLIENT://127.0.0.1:21000,CONTROLLER://127.0.0.1:21001"
    assert settings["controller.quorum.voters"] == "1@127.0.0.1:21001"


def test_with_a_login_every_listener_asks_for_one(tmp_path: Path) -> None:
    settings = listener_settings(21_000, 21_001, "inner1")
    protocols = settings["listener.security.protocol.map"]
    assert protocols == "CLIENT:SASL_PLAINTEXT,CONTROLLER:SASL_PLAINTEXT"
    write_settings(tmp_path, 21_000, 21_001, "inner1")
    file = tmp_path / "server.properties"
    assert file.stat().st_mode & 0o777 == 0o600
    assert "inner1" in file.read_text()
    forget_inner_password(tmp_path)
    assert "inner1" not in file.read_text()
    assert 'password="forgotten"' in file.read_text()


def test_a_login_is_not_changed_under_data_that_is_there(tmp_path: Path) -> None:
    leave_state(tmp_path, phase="stopped")
    (tmp_path / "kafka" / "data").mkdir()
    (tmp_path / "kafka" / "data" / "meta.properties").touch()
    login = broker.Login("someone", Secret("some-password"))
    with pytest.raises(SandboxError, match=r"created without a login\. .*`make clean`") as caught:
        broker.start_broker(tmp_path, login=login)
    assert "some-password" not in str(caught.value)


def test_settings_are_escaped_as_java_reads_them(tmp_path: Path) -> None:
    home = tmp_path / "Jürgen 東 𝄞"
    home.mkdir()
    write_settings(home, 21_000, 21_001)
    lines = (home / "server.properties").read_text(encoding="ascii").splitlines()
    settings = dict(line.split("=", 1) for line in lines)
    assert settings["log.dirs"] == f"{tmp_path}/J\\u00fcrgen \\u6771 \\ud834\\udd1e/data"
    assert settings["auto.create.topics.enable"] == "false"
    assert settings["log.retention.ms"] == "-1"
    with pytest.raises(SandboxError, match="a comma ends a path"):
        write_settings(tmp_path / "a,b", 21_000, 21_001)


def test_missing_java_is_one_sentence(tmp_path: Path, only_java: Path) -> None:
    (only_java / "java").unlink()
    with pytest.raises(SandboxError, match="No Java was found on PATH: install Java 17 or newer"):
        broker.start_broker(tmp_path / "lake")
    assert broker.broker_status(tmp_path / "lake").phase == "absent"


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ('java version "1.8.0_292"', r"bin/java is Java 8, and Spark 4 needs Java 17 or newer"),
        ('openjdk version "11.0.2" 2019', r"bin/java is Java 11, and"),
        ("Segmentation fault", "is Java of an unknown version"),
    ],
)
def test_old_java_is_one_sentence(tmp_path: Path, only_java: Path, answer: str, told: str) -> None:
    fake_java(only_java, answer)
    with pytest.raises(SandboxError, match=told):
        broker.start_broker(tmp_path / "lake")


def test_java_home_comes_before_path(
    tmp_path: Path, only_java: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (only_java / "java").is_file()
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "jdk"))
    with pytest.raises(SandboxError, match=r"No Java was found in JAVA_HOME=.*jdk: "):
        broker.start_broker(tmp_path / "lake")


@pytest.mark.usefixtures("only_java")
def test_nearly_full_disk_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil_usage(free=100 * 2**20)
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage)
    with pytest.raises(SandboxError, match="has 100 MiB left, and the broker needs 512: free some"):
        broker.start_broker(tmp_path / "lake")


@pytest.mark.usefixtures("only_java")
def test_disk_that_fills_up_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(broker, "write_settings", full)
    with pytest.raises(SandboxError, match=r"cannot use .*lake \(No space left on device\): free"):
        broker.start_broker(tmp_path / "lake")


def test_root_that_cannot_be_a_folder_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SandboxError, match=r"cannot use .*file/lake \(Not a directory\)"):
        broker.start_broker(tmp_path / "file" / "lake")
    assert not broker.stop_broker(tmp_path / "file" / "lake")


def test_requested_port_that_is_taken_is_one_sentence(
    tmp_path: Path, only_java: Path, taken_port: int
) -> None:
    assert (only_java / "java").is_file()
    with pytest.raises(SandboxError, match=f"Port {taken_port} is taken by"):
        broker.start_broker(tmp_path / "lake", port=taken_port)
    assert broker.broker_status(tmp_path / "lake").phase == "absent"


@pytest.mark.parametrize(
    ("log", "told"),
    [
        ("INFO x\nERROR Address already in use (Acceptor)\nmore", "its port was taken"),
        ("java.io.IOException: No space left on device", "the disk is full"),
        ("Invalid maximum heap size: -Xmx12q", "--heap is not a size"),
        ("WARN a\nERROR first\nERROR the last of them\nINFO bye", "ERROR the last of them (logs: "),
        ("only this", "only this (logs: "),
        ("", "its logs are empty (logs: "),
    ],
)
def test_the_log_has_the_cause_of_its_end(tmp_path: Path, log: str, told: str) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "server.log").write_text(log)
    assert why_it_ended(tmp_path).startswith(told)


def test_no_broker_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("matchlake.dev.sandbox.topics._TIMEOUT_MS", 300)
    address = f"127.0.0.1:{choose_port(None)}"
    with pytest.raises(SandboxError, match=f"No broker answers at {address}: start the sandbox"):
        create_topic(address, "any", 1)
