"""A real MLflow server over HTTP, as `matchlake mlflow` starts it, and its page."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from tests.support.saved_models import USERS, saved, tracker_in

from matchlake.dev.sandbox.tracking_page import page_command, serve_page
from matchlake.errors import ModelError, SandboxError
from matchlake.io.mlflow_tracking import Tracker
from matchlake.io.model_versions import Decision
from matchlake.io.params import TrackingParams
from matchlake.io.ports import choose_port
from matchlake.model_store.mlflow_flavor import FACTORS, pyfunc_flavor
from matchlake.model_store.spark import load_numpy

_UP = 120


@contextmanager
def page_of(folder: Path, port: int) -> Iterator[psutil.Process]:
    """The page on the store in `folder`, in a process that becomes the server."""
    code = (
        "import sys; from matchlake.io.mlflow_tracking import *; "
        "from matchlake.dev.sandbox.tracking_page import serve_page; "
        "serve_page(Tracker(TrackingParams(), sys.argv[1]), int(sys.argv[2]))"
    )
    command = [sys.executable, "-c", code, str(folder), str(port)]
    with (folder / "page.log").open("wb") as log:
        started = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
    try:
        _wait_for(f"http://127.0.0.1:{port}/health", started)
        yield psutil.Process(started.pid)
    finally:
        started.terminate()
        started.wait(30)


def _wait_for(address: str, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _UP
    while server.poll() is None and time.monotonic() < deadline:
        try:
            urllib.request.urlopen(address, timeout=5).close()  # noqa: S310 - our own server
        except OSError:
            time.sleep(0.2)
        else:
            return
    pytest.fail("the page did not come up")


def test_a_server_by_http_takes_runs_models_and_aliases_and_the_page_shows_them(
    tmp_path: Path,
) -> None:
    tracker_in(tmp_path)
    port = choose_port(None)
    address = f"http://127.0.0.1:{port}"
    with page_of(tmp_path, port) as server:
        tracker = Tracker(TrackingParams(uri=address, experiment="served"), None)
        assert tracker.champion() is None
        with tracker.run("train") as run:
            run.log_metrics({"rmse": 0.9})
            saved(tmp_path / "model" / FACTORS)
            uri = run.log_model(pyfunc_flavor(tmp_path / "model"))
            made = run.register(uri, Decision("champion", "first"))
        assert tracker.champion() == made
        assert tracker.metrics(made) == {"rmse": 0.9}
        with tracker.files(made, f"artifacts/{FACTORS}") as folder:
            assert list(load_numpy(folder).user_ids) == USERS
        page = urllib.request.urlopen(address, timeout=30).read()
        assert b"<title>MLflow</title>" in page
        found = f"{address}/api/2.0/mlflow/registered-models/get?name=recommender"
        with urllib.request.urlopen(found, timeout=30) as answer:  # noqa: S310 - our own server
            assert json.load(answer)["registered_model"]["aliases"][0]["alias"] == "champion"
        family = [server, *server.children(recursive=True)]
    _, alive = psutil.wait_procs(family, timeout=30)
    assert alive == []


def test_a_server_that_is_not_there_is_one_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    tracker = Tracker(TrackingParams(uri=f"http://127.0.0.1:{choose_port(None)}"), None)
    with pytest.raises(ModelError, match=r"does not answer.*tracking\.uri"):
        tracker.champion()


def test_there_is_no_page_without_runs_nor_for_a_server_that_has_its_own(tmp_path: Path) -> None:
    with pytest.raises(SandboxError, match=r"no runs yet.*train_recommender"):
        page_command(Tracker(TrackingParams(), str(tmp_path)), 1)
    with pytest.raises(SandboxError, match="https://mlflow: open the page of this server"):
        page_command(Tracker(TrackingParams(uri="https://mlflow"), str(tmp_path)), 1)


def test_an_occupied_port_is_reported_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracker = tracker_in(tmp_path)
    monkeypatch.setattr(os, "execve", lambda *_: pytest.fail("started"))

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(SandboxError, match="is taken by"):
            serve_page(tracker, taken.getsockname()[1])
