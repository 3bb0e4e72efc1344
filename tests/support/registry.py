"""A schema registry for tests: Confluent's answers to the question for a schema by its id."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any


@contextmanager
def schema_registry(
    schemas: Mapping[int, Any], asked: list[str], moved_to: str | None = None
) -> Iterator[str]:
    """Its address, while it runs; each path that it was asked for goes to `asked`.

    With `moved_to` it answers each question with a redirect to that address.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            if moved_to:
                self.send_response(302)
                self.send_header("Location", moved_to + self.path)
                self.end_headers()
                return
            number = int(self.path.rpartition("/")[2])
            known = self.path == f"/schemas/ids/{number}" and number in schemas
            told: Any = {"schema": json.dumps(schemas.get(number))}
            told = told if known else {"error_code": 40403, "message": "Schema not found"}
            self.send_response(200 if known else 404)
            self.send_header("Content-Type", "application/vnd.schemaregistry.v1+json")
            self.end_headers()
            self.wfile.write(json.dumps(told).encode())

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
