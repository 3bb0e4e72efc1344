"""Connections that are closed if the client is too slow or its headers are too long."""

import asyncio
from typing import Any, ClassVar

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from matchlake.serve.metrics import Metrics

_HEAD_BYTES = 65_536


class Connection(HttpToolsProtocol):
    """One connection; `connection_class` sets the limits."""

    metrics: ClassVar[Metrics]
    most: ClassVar[int]
    seconds: ClassVar[float]

    _timer: asyncio.TimerHandle | None = None
    _unread: asyncio.TimerHandle | None = None
    _head: int = 0
    _in_head: bool = True

    def connection_made(self, transport: Any) -> None:
        """Refuses a connection beyond the limit."""
        super().connection_made(transport)
        if len(self.connections) > self.most:
            self.metrics.count("matchlake_connections_refused_total")
            transport.abort()
        else:
            self._start_timer()

    def data_received(self, data: bytes) -> None:
        """Closes the connection if its headers are too long."""
        if self._in_head:
            if self._head > _HEAD_BYTES:
                self.transport.abort()
                return
            self._head += len(data)
        super().data_received(data)

    def on_message_begin(self) -> None:
        """Starts the timer of a request."""
        self._head, self._in_head = 0, True
        super().on_message_begin()
        self._start_timer()

    def on_headers_complete(self) -> None:
        """Stops counting the bytes of the headers."""
        self._in_head = False
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Stops the timer of a request."""
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
