"""The cache of exports that `matchlake serve` fills from the registry."""

import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from matchlake.cli import exports
from matchlake.cli.serve import _prepare, _Refresher
from matchlake.lakehouse import registered_models


def test_two_servers_with_one_cache_export_a_version_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "base.yml").write_text("checkpoints: x\n")
    (tmp_path / "local.yml").write_text(f"lakehouse: {tmp_path / 'lake'}\n")
    made: list[Path] = []

    def export(_name: str, *, to: Path, **_: Any) -> None:
        made.append(to)
        time.sleep(0.3)
        to.mkdir()

    monkeypatch.setattr(exports, "export", export)
    third = SimpleNamespace(version="3")
    monkeypatch.setattr(registered_models, "chosen_version", lambda *_: third)
    servers = [
        threading.Thread(target=_prepare, args=["recommender", "local", [], tmp_path])
        for _ in range(2)
    ]
    for each in servers:
        each.start()
    for each in servers:
        each.join()
    folder = tmp_path / "lake" / "serving" / "recommender"
    assert made == [folder / "v3"]
    assert (folder / "current").read_text() == "v3"


def test_an_export_ends_with_the_server() -> None:
    refresher = _Refresher([], 60)
    refresher._command = [sys.executable, "-c", "import time; time.sleep(60)"]
    refresher.look()
    running: Any = refresher._running
    refresher.end()
    assert running.poll() == -15


def test_a_server_goes_on_if_no_export_can_start(caplog: pytest.LogCaptureFixture) -> None:
    refresher = _Refresher([], 60)
    refresher._command = ["/no/such/program"]
    refresher.look()
    assert "no look for a new champion now" in caplog.text
    refresher.end()
