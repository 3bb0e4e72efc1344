"""The audit of locked versions, against a server that answers as OSV documents it."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import Any

import pytest
from tests.support.sources import ROOT

from matchlake.dev import audit as audits
from matchlake.dev.bundle.locks import Locked

OLD = Locked("PyPI", "mlflow", "3.4.0", hashed=True)
JAR = Locked("Maven", "io.delta:delta-storage", "4.4.0", hashed=True)


@contextmanager
def register(asked: list[Any], hold: Event | None = None) -> Iterator[str]:
    """A register that knows one vulnerability, of mlflow; it waits for `hold` if there is one."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            asked.append(body)
            if hold:
                hold.wait(10)
            known = {"mlflow": {"vulns": [{"id": "PYSEC-2", "modified": ""}, {"id": "GHSA-1"}]}}
            results = [known.get(each["package"]["name"], {}) for each in body["queries"]]
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps({"results": results}).encode())

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1/querybatch"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_packages_and_jars_are_asked_for_by_name_and_version() -> None:
    asked: list[Any] = []
    with register(asked) as address:
        (finding,) = audits.audit([JAR, OLD], address)
    assert str(finding) == "mlflow 3.4.0: GHSA-1, PYSEC-2"
    assert asked[0]["queries"] == [
        {"package": {"ecosystem": "Maven", "name": "io.delta:delta-storage"}, "version": "4.4.0"},
        {"package": {"ecosystem": "PyPI", "name": "mlflow"}, "version": "3.4.0"},
    ]


def test_the_locks_of_the_project_are_asked_for() -> None:
    found = audits.locked_versions(ROOT)
    assert {"PyPI", "Maven"} == {each.ecosystem for each in found}
    names = {each.name for each in found}
    assert {"mlflow", "pyspark", "uv", "org.apache.kafka:kafka-clients"} <= names
    assert len(found) == len(set(found)) < 1000, "OSV takes a thousand queries at once"


def test_no_answer_in_time_is_no_failure(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    hold = Event()
    with register([], hold) as address:
        monkeypatch.setattr(audits, "audit", lambda locked: AUDIT(locked, address, 0.2))
        assert audits.main([]) == 0
        hold.set()
    assert "not audited: OSV gives no answer" in capsys.readouterr().out
    monkeypatch.setattr(audits, "audit", lambda locked: AUDIT(locked, address, 0.5))
    assert audits.main([]) == 0, "nobody listens"
    assert audits.main(["--strict"]) == 1


def test_a_finding_is_printed_and_fails_only_where_asked(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    with register([]) as address:
        monkeypatch.setattr(audits, "audit", lambda locked: AUDIT(locked, address))
        assert audits.main([]) == 0
        assert audits.main(["--strict"]) == 1
    assert "vulnerable: mlflow 3.17.2: GHSA-1, PYSEC-2" in capsys.readouterr().out


AUDIT = audits.audit
