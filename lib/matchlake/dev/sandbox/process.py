"""Processes that outlive the command that started them."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from matchlake.errors import SandboxError


@contextmanager
def alone(home: Path) -> Iterator[None]:
    """Makes the folder of a service and locks it against other commands during the block.

    Raises SandboxError if the folder cannot be written, in the block too.
    """
    try:
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
        # The system releases this lock when its process ends, for any reason.
        with (home / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
    except OSError as error:
        raise SandboxError(
            f"The sandbox cannot use {home.parent} ({error.strerror}): "
            "free the disk, change its permissions, or give another --root."
        ) from error


def spawn_detached(command: list[str], output: Path) -> int:
    """Starts `command` in its own session; appends its output to `output`. Returns its process id.

    It inherits only the environment: neither Ctrl-C nor the end of this process stops it, and it
    keeps no file, pipe or lock of this process open.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    return os.posix_spawn(
        command[0],
        command,
        os.environ,
        setsid=True,
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, os.fspath(output), flags, 0o644),
            (os.POSIX_SPAWN_DUP2, 1, 2),
            *((os.POSIX_SPAWN_CLOSE, number) for number in _inherited()),
        ],
    )


def _inherited() -> list[int]:
    """Returns the open files that a child process would inherit, except the standard three."""
    found = []
    for number in map(int, os.listdir("/dev/fd")):  # noqa: PTH208 - numbers
        with suppress(OSError):
            if number > 2 and os.get_inheritable(number):  # noqa: PLR2004 - standard error
                found.append(number)
    return found


def find_process(*arguments: str) -> psutil.Process | None:
    """The running process with all of `arguments` on its command line, or None.

    A path that only one service has among its arguments identifies that service, even if the
    system has given its process id to another process.
    """
    required = set(arguments)
    for process in psutil.process_iter(["cmdline"]):
        if required <= set(process.info["cmdline"] or ()) and _is_alive(process):
            return process
    return None


def end_process(process: psutil.Process, grace: float) -> None:
    """Asks `process` to end, and kills it if it still runs after `grace` seconds."""
    for ask in (process.terminate, process.kill):
        with suppress(psutil.NoSuchProcess):
            ask()
        deadline = time.monotonic() + grace
        while _is_alive(process) and time.monotonic() < deadline:
            time.sleep(0.05)


def _is_alive(process: psutil.Process) -> bool:
    with suppress(ChildProcessError):
        # An ended child stays a zombie until its parent asks for its exit code.
        os.waitpid(process.pid, os.WNOHANG)
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
