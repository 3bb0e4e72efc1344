"""Connections that are closed if the client is too slow or its headers are too long.

A connection ignores the header Upgrade, as HTTP allows. The parser would leave out the body of a
request with it, and Java's client sends the header by default: Kludex/uvicorn#2722.
"""

import asyncio
import re
from typing import Any, ClassVar

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from matchlake.serve.metrics import Metrics

_HEAD_BYTES = 65_536
_END = b"\r\n\r\n"
_UPGRADE = re.compile(rb"\r\nupgrade[ \t]*:[^\r\n]*", re.IGNORECASE)


class Connection(HttpToolsProtocol):
    """One connection; `connection_class` sets the limits."""

    metrics: ClassVar[Metrics]
    most: ClassVar[int]
    seconds: ClassVar[float]

    _timer: asyncio.TimerHandle | None = None
    _unread: asyncio.TimerHandle | None = None
    _head: bytes = b""
    _in_head: bool = True
    _is_lost: bool = False

    def connection_made(self, transport: Any) -> None:
        """Refuses a connection beyond the limit."""
        super().connection_made(transport)
        if len(self.connections) > self.most:
            self.metrics.count("matchlake_connections_refused_total")
            transport.abort()
        else:
            self._start_timer()

    def data_received(self, data: bytes) -> None:
        """Collects the headers of a request. Closes the connection if they are too long."""
        if self._is_lost:
            return
        if self._in_head:
            # Some clients send an empty line after a body.
            data = data if self._head else data.lstrip(b"\r\n")
            whole = self._whole_head(data) if data else None
            if whole is None:
                return
            data = whole
        super().data_received(data)

    def _whole_head(self, data: bytes) -> bytes | None:
        """Returns headers without Upgrade, and what follows them; None if they are incomplete."""
        self._start_timer()
        begin = max(0, len(self._head) - len(_END))
        self._head += data
        end = self._head.find(_END, begin)
        if (end if end >= 0 else len(self._head)) > _HEAD_BYTES:
            self.transport.abort()
            return None
        if end < 0:
            return None
        whole, self._head = self._head, b""
        if _UPGRADE.search(whole, 0, end):
            return _UPGRADE.sub(b"", whole[:end]) + whole[end:]
        return whole

    def _unsupported_upgrade_warning(self) -> None:
        """Closes the connection after CONNECT, because the start of the next request is unknown."""
        self._is_lost = True
        self.cycle.keep_alive = False

    def on_message_begin(self) -> None:
        """Starts the timer of a request."""
        self._in_head = True
        super().on_message_begin()
        self._start_timer()

    def on_headers_complete(self) -> None:
        """Stops collecting headers."""
        self._in_head = False
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Stops the timer of a request."""
        self._in_head = True
        self._stop_timer()
        super().on_message_complete()

    def pause_writing(self) -> None:
        """Starts the timer for the client to read, as unread responses use memory."""
        super().pause_writing()
        self._unread = self.loop.call_later(self.seconds, self.transport.abort)

    def resume_writing(self) -> None:
        """Stops the timer for the client to read."""
        super().resume_writing()
        self._stop_unread()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stops all timers."""
        self._stop_timer()
        self._stop_unread()
        super().connection_lost(exc)

    def _start_timer(self) -> None:
        if self._timer is None:
            self._timer = self.loop.call_later(self.seconds, self.transport.abort)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _stop_unread(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None


def connection_class(metrics: Metrics, most: int, seconds: float) -> type[Connection]:
    """Returns a class for at most `most` connections; clients have `seconds` to send or to read."""
    limits = {"metrics": metrics, "most": most, "seconds": seconds}
    return type("LimitedConnection", (Connection,), limits)
