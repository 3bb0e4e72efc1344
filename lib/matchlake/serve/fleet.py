"""Starts, watches, restarts and stops the processes of a server.

The module does not import the server: the processes load their packages while the command still
reads conf.
"""

import logging
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from matchlake.errors import ConfigError, ModelError
from matchlake.io.child_processes import one_thread_each

_log = logging.getLogger(__name__)
_LOOK_SECONDS, _RESTART_SECONDS, _START_SECONDS = 0.2, 1.0, 120.0
_BACKLOG = 2048


class Worker:
    """One process of the server, which waits for its settings."""

    def __init__(self) -> None:
        own, theirs = socket.socketpair()
        self.process = subprocess.Popen(  # noqa: S603 - this program itself
            [sys.executable, "-m", "matchlake.serve", str(theirs.fileno())],
            # without stdin OpenSSL cannot ask for the password of an encrypted key
            stdin=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
            env=one_thread_each(),
            start_new_session=True,
        )
        theirs.close()
        self.channel = own

    def start(self, settings: Mapping[str, Any], listener: socket.socket) -> None:
        """Sends the settings and the listening socket."""
        from matchlake.serve.settings import send  # noqa: PLC0415 - it brings the params classes

        # If the process has already ended, `wait_ready` reports the reason that it sent.
        with suppress(OSError):
            send(self.channel, settings, [listener.fileno()])

    def wait_ready(self) -> dict[str, Any]:
        """Returns the model of the process.

        Raises ModelError with the reason if it does not start.
        """
        from matchlake.serve.settings import receive  # noqa: PLC0415

        self.channel.settimeout(_START_SECONDS)
        try:
            answer: dict[str, Any] | None = receive(self.channel)[0]
        except TimeoutError:
            answer = {"error": f"the model is not loaded after {_START_SECONDS:g} seconds."}
        except OSError:
            answer = None
        if answer is None:
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(_RESTART_SECONDS)
            answer = {"error": f"a process ended, {self.reason()}."}
        if "error" in answer:
            raise ModelError(f"The server does not start: {answer['error']}")
        return answer

    def reason(self) -> str:
        """Returns why the process has ended: the error that it sent, else its exit code."""
        from matchlake.serve.settings import receive  # noqa: PLC0415

        with suppress(OSError):
            while (sent := receive(self.channel)[0]) is not None:
                if "error" in sent:
                    return str(sent["error"])
        return f"exit code {self.process.poll()}"

    def end(self, number: int = signal.SIGTERM) -> None:
        """Sends the signal `number` to the process."""
        if self.process.poll() is None:
            self.process.send_signal(number)


class Fleet:
    """All processes of a server. `first` is a process that is already loading its packages."""

    def __init__(self, settings: Mapping[str, Any], listener: socket.socket, first: Worker) -> None:
        self._settings, self._listener = settings, listener
        self._count: int = settings["workers"]
        self._workers = [first, *(Worker() for _ in range(self._count - 1))]
        self._started = [0.0] * self._count
        self._is_stopping = False

    def start(self) -> dict[str, Any]:
        """Starts all processes.

        Returns the model of the first one. Raises ModelError if a process does not start.
        """
        for number, worker in enumerate(self._workers):
            worker.start({**self._settings, "worker": number}, self._listener)
            self._started[number] = time.monotonic()
        served = [worker.wait_ready() for worker in self._workers]
        return served[0]

    def run(self, seconds: float, refresh: Callable[[], None]) -> None:
        """Watches the processes until SIGTERM or SIGINT; then gives them `seconds` to finish."""
        before = [
            (each, signal.signal(each, self._stop)) for each in (signal.SIGTERM, signal.SIGINT)
        ]
        try:
            while not self._is_stopping:
                refresh()
                self._restart_ended()
                time.sleep(_LOOK_SECONDS)
        finally:
            self.stop(seconds)
            for number, handler in before:
                signal.signal(number, handler)

    def stop(self, seconds: float) -> None:
        """Stops all processes, and kills them after `seconds`."""
        for worker in self._workers:
            worker.end()
        deadline = time.monotonic() + seconds
        for worker in self._workers:
            try:
                worker.process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                worker.end(signal.SIGKILL)
                worker.process.wait()

    def _stop(self, *_: Any) -> None:
        self._is_stopping = True

    def _restart_ended(self) -> None:
        now = time.monotonic()
        for number, worker in enumerate(self._workers):
            has_ended = worker.process.poll() is not None
            if not has_ended or now - self._started[number] < _RESTART_SECONDS:
                continue
            _log.error("process %d of the server is restarted: %s", number, worker.reason())
            self._started[number] = now
            worker.channel.close()
            try:
                self._workers[number] = Worker()
            except OSError as error:  # without memory for a new process, the others continue
                _log.error("process %d of the server cannot start: %s", number, error)
                continue
            self._workers[number].start({**self._settings, "worker": number}, self._listener)


def listen(host: str, port: int) -> socket.socket:
    """Opens the socket of all processes; raises ConfigError if the address is in use."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(_BACKLOG)
    except OSError as error:
        raise ConfigError(
            f"The server cannot listen at {host}:{port}: {error.strerror}. Choose another "
            "serving.port, or stop the program that uses it."
        ) from None
    return listener


def counters_file(folder: Path | None = None) -> Path:
    """Returns a path for the counters of the processes."""
    return Path(tempfile.mkdtemp(prefix="matchlake-serve-", dir=folder)) / "counters"
