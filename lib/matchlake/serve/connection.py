"""A connection that ends if its client is too slow, or sends too many headers.

It ignores the header Upgrade, as HTTP allows. The parser would leave out the body of such a
request, and Java's client sends the header by default: Kludex/uvicorn#2722.
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
        """Collects the headers of a request; ends the connection if they are too long."""
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
        """The headers without Upgrade, and what follows them; None if more has to come."""
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
        """Ends the connection after CONNECT: it is not known where the next request begins."""
        self._is_lost = True
        self.cycle.keep_alive = False

    def on_message_begin(self) -> None:
        """Starts the time of a request."""
        self._in_head = True
        super().on_message_begin()
        self._start_timer()

    def on_headers_complete(self) -> None:
        """Ends the collection of headers."""
        self._in_head = False
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Ends the time of a request."""
        self._in_head = True
        self._stop_timer()
        super().on_message_complete()

    def pause_writing(self) -> None:
        """Starts the time for the client to read: an answer that nobody reads takes memory."""
        super().pause_writing()
        self._unread = self.loop.call_later(self.seconds, self.transport.abort)

    def resume_writing(self) -> None:
        """Ends the time for the client to read."""
        super().resume_writing()
        self._stop_unread()

    def connection_lost(self, exc: Exception | None) -> None:
        """Ends all times."""
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
    """The class of connections: `most` at a time, `seconds` to send a request or to read."""
    limits = {"metrics": metrics, "most": most, "seconds": seconds}
    return type("LimitedConnection", (Connection,), limits)
