"""Answers the queries of `matchlake sql` in the session of a running `matchlake sql-server`."""

import io
import json
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from threading import Thread
from typing import Any
from uuid import uuid4

from rich.console import Console

from matchlake.cli.sql.analyst import Analyst
from matchlake.cli.sql.output import fetch_answer, print_answer, write_rows
from matchlake.cli.sql.request import TABLES, Format, Request, conf_time, socket_path
from matchlake.cli.sql.statements import script_statements
from matchlake.errors import MatchlakeError
from matchlake.io.job_tags import cancel_jobs, job_tag
from matchlake.io.secrets import masked

_LARGEST = 2**20
_PIPED_WIDTH = 100_000


@contextmanager
def listening(analyst: Analyst) -> Iterator[None]:
    """Answers on the socket of the analyst's conf while the block runs. Else does nothing."""
    conf, env = analyst.config.conf_dir, analyst.config.env
    path = socket_path(conf, env)
    if path is None:
        yield
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
        path.unlink(missing_ok=True)
        server.bind(os.fspath(path))
        path.chmod(0o600)
        server.listen()
        Thread(target=_serve, args=[server, analyst, conf_time(conf)], daemon=True).start()
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def _serve(server: socket.socket, analyst: Analyst, changed: float) -> None:
    with suppress(OSError):  # the socket is closed when the server ends
        while True:
            link, _ = server.accept()
            Thread(target=_converse, args=[link, analyst, changed], daemon=True).start()


def _converse(link: socket.socket, analyst: Analyst, changed: float) -> None:
    """Answers one request. If the client disconnects, its query is cancelled."""
    with link, suppress(OSError):

        def send(message: dict[str, Any]) -> None:
            link.sendall(json.dumps(message).encode() + b"\n")

        with link.makefile("r", encoding="utf-8") as lines:
            request = Request(**json.loads(lines.readline(_LARGEST)))
        if request.conf_time != changed:
            send({"accepted": False})
            return
        send({"accepted": True})
        tag = f"sql-{uuid4().hex}"
        Thread(target=_cancel_at_end, args=[link, analyst, tag], daemon=True).start()
        with job_tag(analyst.spark, tag):
            send({"code": _answer(analyst, request, send)})


def _cancel_at_end(link: socket.socket, analyst: Analyst, tag: str) -> None:
    with suppress(OSError):
        link.recv(1)
    cancel_jobs(analyst.spark, tag)


def _answer(analyst: Analyst, request: Request, send: Callable[[dict[str, Any]], None]) -> int:
    """Sends what `matchlake sql` would print; returns its exit code."""
    for statement in script_statements(request.text):
        out = io.StringIO()
        try:
            with analyst.errors_explained():
                frame = analyst.query(statement)
                if request.style in TABLES:
                    answer, vertical = fetch_answer(frame, request.limit), request.style != "table"
                    print_answer(answer, _console(out, request.width), vertical=vertical)
                    cut = False
                else:
                    cut = write_rows(frame, Format(request.style), request.limit, out)
        except MatchlakeError as error:
            send({"err": f"error: {masked(str(error))}\n"})
            return 1
        send({"out": out.getvalue()})
        if cut:
            text = f"note: only the first {request.limit} rows are shown (--limit 0: all)\n"
            send({"err": text})
    return 0


def _console(out: io.StringIO, width: int) -> Console:
    """A console that prints as one of the client's terminal would."""
    return Console(file=out, width=width or _PIPED_WIDTH, force_terminal=width > 0)
