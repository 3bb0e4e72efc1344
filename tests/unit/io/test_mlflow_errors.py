"""Servers that answer something else than MLflow does."""

import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import mlflow
import pytest
from tests.support.saved_models import tracker_in

from matchlake.errors import ModelError, ModelGoneError
from matchlake.io.mlflow_tracking import Tracker
from matchlake.io.model_versions import ModelVersion
from matchlake.io.params import TrackingParams


class _Answers(http.server.BaseHTTPRequestHandler):
    """A server that gives the same answer to every question."""

    code, body = 200, b""

    def do_GET(self) -> None:
        self.send_response(self.code)
        self.send_header("Content-Length", str(len(self.body)))
        self.end_headers()
        self.wfile.write(self.body)

    do_POST = do_GET  # noqa: N815

    def log_message(self, *_: object) -> None:  # type: ignore[override]
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Tracker]:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    serving = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Answers)
    threading.Thread(target=serving.serve_forever, daemon=True).start()
    yield Tracker(TrackingParams(uri=f"http://127.0.0.1:{serving.server_port}"))
    serving.shutdown()
    serving.server_close()


@pytest.mark.parametrize(
    ("code", "body"),
    [
        (500, b"boom"),
        (404, b"<html>" + b"x" * 5000 + b"</html>"),
        (200, b"<html>Log in</html>"),
        (200, b"[1]"),
        (200, b"{}"),
        (302, b""),
        (403, b'{"error_code": "PERMISSION_DENIED", "message": "no"}'),
    ],
)
def test_a_server_with_a_wrong_answer_is_one_short_error(
    server: Tracker, monkeypatch: pytest.MonkeyPatch, code: int, body: bytes
) -> None:
    monkeypatch.setattr(_Answers, "code", code)
    monkeypatch.setattr(_Answers, "body", body)
    with pytest.raises(ModelError) as told:
        server.champion()
    assert not isinstance(told.value, ModelGoneError)
    assert len(str(told.value)) < 700
    assert "tracking.uri" in str(told.value)
    with pytest.raises(ModelError), server.run("train"):
        pytest.fail("there is no run")
    with pytest.raises(ModelError), server.files(ModelVersion("m", "1", "r"), "artifacts"):
        pytest.fail("there are no files")


def test_a_server_that_stops_during_a_run_is_a_model_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise mlflow.MlflowException("API request failed: connection refused")

    def log() -> None:
        with tracker_in(tmp_path).run("train") as run:
            monkeypatch.setattr(mlflow, "log_params", refuse)
            run.log_params({"rank": 8})

    with pytest.raises(ModelError, match="connection refused"):
        log()
