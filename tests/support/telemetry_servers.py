"""Small servers that answer as a collector, Application Insights and Azure Monitor do."""

import gzip
import json
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Literal

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

Behaviour = Literal["ok", "slow", "throttling", "refusing", "broken"]
_STATUS = {"throttling": 429, "refusing": 401, "broken": 500}
_OTLP = {
    "/v1/metrics": ExportMetricsServiceRequest,
    "/v1/traces": ExportTraceServiceRequest,
    "/v1/logs": ExportLogsServiceRequest,
}


class Endpoint:
    """One server: what it received, path and body, as bytes without compression."""

    def __init__(self, behaviour: Behaviour, certificate: Path | None) -> None:
        self.received: list[tuple[str, bytes]] = []
        endpoint, hold = self, threading.Event()
        self._hold = hold

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                packed = self.headers.get("Content-Encoding") == "gzip"
                endpoint.received.append((self.path, gzip.decompress(body) if packed else body))
                if behaviour == "slow":
                    hold.wait(60)
                answer = _answer(self.path, body)
                self.send_response(_STATUS.get(behaviour, 204 if "dataColl" in self.path else 200))
                if behaviour == "throttling":
                    self.send_header("Retry-After", "1")
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.port = self.server.server_port
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def otlp(self, path: str) -> list[Any]:
        """The decoded requests of a signal."""
        return [_OTLP[path].FromString(body) for at, body in self.received if at == path]

    def bodies(self) -> list[Any]:
        """The bodies as JSON."""
        return [json.loads(body) for _, body in self.received]

    def wait_for(self, text: bytes, seconds: float = 10) -> None:
        """Waits until a body with `text` has arrived."""
        until = time.monotonic() + seconds
        while not any(text in body for _, body in self.received):
            assert time.monotonic() < until, f"{text!r} did not arrive"
            time.sleep(0.02)

    def close(self) -> None:
        self._hold.set()
        self.server.shutdown()
        self.server.server_close()


def _answer(path: str, body: bytes) -> bytes:
    if path.endswith("/track"):
        number = len(body.splitlines())
        return json.dumps({"itemsReceived": number, "itemsAccepted": number, "errors": []}).encode()
    return b""


@contextmanager
def endpoint(behaviour: Behaviour = "ok", certificate: Path | None = None) -> Iterator[Endpoint]:
    """A server while the context lasts."""
    server = Endpoint(behaviour, certificate)
    try:
        yield server
    finally:
        server.close()
