"""Jars enter their folder only as their lock names them, and no network is said in a sentence."""

import hashlib
from pathlib import Path

import pytest

from matchlake.dev.sandbox import jars
from matchlake.dev.sandbox.jars import Jar, install_jars, missing_jars, read_lock
from matchlake.errors import SandboxError

CONTENT = b"a jar"
GOOD = Jar("org.example", "good", "1.0", hashlib.sha256(CONTENT).hexdigest())
ALSO = GOOD._replace(name="also")


@pytest.fixture
def lock(monkeypatch: pytest.MonkeyPatch) -> list[Jar]:
    locked = [GOOD, ALSO]
    monkeypatch.setattr(jars, "read_lock", lambda _: locked)
    return locked


def fake_ivy(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    (folder / "java").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "java").chmod(0o755)
    monkeypatch.setattr(jars, "require_java", lambda: str(folder / "java"))


def fetched(monkeypatch: pytest.MonkeyPatch, content: bytes) -> list[int]:
    asked = []

    def fetch(wanted: list[Jar], scratch: Path) -> Path:
        asked.append(len(wanted))
        for jar in wanted:
            (scratch / jar.file_name).write_bytes(content)
        return scratch

    monkeypatch.setattr(jars, "fetch_jars", fetch)
    return asked


@pytest.mark.parametrize("name", ["connectors", "connectors-4.0", "broker"])
def test_locks_name_every_jar_once_with_its_digest(name: str) -> None:
    locked = read_lock(name)
    assert len({jar.file_name for jar in locked}) == len(locked) > 5
    assert all(len(jar.sha256) == 64 and int(jar.sha256, 16) for jar in locked)


def test_only_missing_jars_are_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lock: list[Jar]
) -> None:
    asked = fetched(monkeypatch, CONTENT)
    folder = tmp_path / "jars"
    assert install_jars("any", folder) == 2
    assert asked == [1, 1]
    assert sorted(path.name for path in folder.iterdir()) == ["also-1.0.jar", "good-1.0.jar"]
    assert missing_jars("any", folder) == []
    assert install_jars("any", folder) == 0
    (folder / lock[1].file_name).unlink()
    assert install_jars("any", folder) == 1
    assert asked == [1, 1, 1]


@pytest.mark.usefixtures("lock")
def test_altered_jar_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fetched(monkeypatch, b"another jar")
    with pytest.raises(SandboxError, match=r"good-1\.0\.jar has sha256 .*, its lock says"):
        install_jars("any", tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("lock")
@pytest.mark.parametrize(
    ("script", "told"),
    [
        ("echo 'x: Host jars.example not found. url=...'; exit 1", "Host jars.example not f"),
        (
            "echo 'access error (java.net.ConnectException: Connection refused)'; exit 1",
            "java.net.ConnectException: Connection refused",
        ),
        ("echo 'nothing was fetched'", "nothing was fetched"),
        ("exit 1", "no output of Ivy"),
    ],
)
def test_no_network_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, told: str
) -> None:
    fake_ivy(tmp_path, monkeypatch, script)
    with pytest.raises(SandboxError) as caught:
        install_jars("any", tmp_path / "jars")
    start = f"good-1.0.jar could not be fetched from Maven Central ({told}"
    assert str(caught.value).startswith(start)
    assert "the first install needs the network" in str(caught.value)
