"""Small web servers for the emulators: JSON answers, and faults for tests."""

import json
import ssl
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from matchlake.io.ports import HOST

_LARGEST = 2**20


@dataclass(frozen=True)
class Request:
    """One request; `path` holds the decoded parts between the slashes."""

    method: str
    path: tuple[str, ...]
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> dict[str, Any]:
        """The body as a JSON object; empty where there is none."""
        parsed = json.loads(self.body or b"{}")
        return parsed if isinstance(parsed, dict) else {}

    @property
    def form(self) -> dict[str, str]:
        """The body as the fields of a form."""
        return {key: values[0] for key, values in parse_qs(self.body.decode()).items()}

    @property
    def bearer(self) -> str:
        """The bearer token; empty without one."""
        kind, _, token = self.headers.get("authorization", "").partition(" ")
        return token.strip() if kind.lower() == "bearer" else ""


@dataclass(frozen=True)
class Answer:
    """A status and a JSON body."""

    status: int = 200
    body: Mapping[str, Any] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


Handle = Callable[[Request], Answer]


@dataclass
class Faults:
    """The planned faults: each one replaces one real response, in this order."""

    waiting: list[Answer] = field(default_factory=list)
    seen: int = 0

    def wrap(self, handle: Handle) -> Handle:
        """The same service with the faults; `seen` counts its requests."""

        def faulty(request: Request) -> Answer:
            self.seen += 1
            return self.waiting.pop(0) if self.waiting else handle(request)

        return faulty


class WebServer:
    """A server on this machine only; with a certificate it is encrypted."""

    def __init__(self, handle: Handle, port: int = 0, certificate: Path | None = None) -> None:
        self._server = _Server((HOST, port), _handler(handle))
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.minimum_version = ssl.TLSVersion.TLSv1_2
            context.load_cert_chain(certificate)
            self._server.tls = context
        self._scheme = "https" if certificate else "http"

    @property
    def url(self) -> str:
        """The address, without a slash at the end."""
        return f"{self._scheme}://{HOST}:{self._server.server_address[1]}"

    def start(self) -> None:
        """Serves in a daemon thread."""
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        """Ends it and frees its port."""
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    tls: ssl.SSLContext | None = None

    def finish_request(self, request: Any, client_address: Any) -> None:
        if self.tls is None:
            super().finish_request(request, client_address)
            return
        # Runs in the thread of the connection, so that a slow handshake delays no other client.
        request.settimeout(30)
        with self.tls.wrap_socket(request, server_side=True) as encrypted:
            super().finish_request(encrypted, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignores a client that left, or that does not trust the certificate."""


def _handler(handle: Handle) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _serve(self) -> None:
            size = int(self.headers.get("content-length") or 0)
            if size > _LARGEST:
                self._send(Answer(413, {"error": "too large"}))
                self.close_connection = True
                return
            url = urlsplit(self.path)
            request = Request(
                self.command,
                tuple(unquote(part) for part in url.path.strip("/").split("/")),
                {key: values[0] for key, values in parse_qs(url.query).items()},
                {key.lower(): value for key, value in self.headers.items()},
                self.rfile.read(size),
            )
            try:
                answer = handle(request)
            except (ValueError, KeyError, TypeError, AttributeError):
                answer = Answer(400, {"error_code": "BAD_REQUEST", "message": "cannot be read"})
            self._send(answer)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _serve  # noqa: N815 - http.server's names

        def _send(self, answer: Answer) -> None:
            body = b"" if answer.body is None else json.dumps(answer.body).encode()
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Writes nothing: the address of a request may hold private data."""

    return Handler
