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
    """Makes a service's folder, and keeps other commands from it while the block runs.

    Raises SandboxError where the disk does not let the folder, or the block, do its work.
    """
    try:
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
        # The system releases this lock when its holder dies, however it dies.
        with (home / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
    except OSError as error:
        raise SandboxError(
            f"The sandbox cannot use {home.parent} ({error.strerror}): "
            "free the disk, mend its rights, or give another --root."
        ) from error


def spawn_detached(command: list[str], output: Path) -> int:
    """Starts `command` in a session of its own, its output appended to `output`; returns its id.

    It inherits nothing of ours but the environment, so neither Ctrl-C nor our end ends it.
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
        ],
    )


def find_process(*arguments: str) -> psutil.Process | None:
    """The living process whose command line holds every one of `arguments`, or None.

    Asking for a path that only one service is started with tells that service from every other
    process, even where a process id was given out anew.
    """
    wanted = set(arguments)
    for process in psutil.process_iter(["cmdline"]):
        if wanted <= set(process.info["cmdline"] or ()) and _is_alive(process):
            return process
    return None


def end_process(process: psutil.Process, grace: float) -> None:
    """Asks `process` to end, and kills it when it has not done so within `grace` seconds."""
    for ask in (process.terminate, process.kill):
        with suppress(psutil.NoSuchProcess):
            ask()
        deadline = time.monotonic() + grace
        while _is_alive(process) and time.monotonic() < deadline:
            time.sleep(0.05)


def _is_alive(process: psutil.Process) -> bool:
    with suppress(ChildProcessError):
        # A child of ours that ended stays as a zombie until we ask.
        os.waitpid(process.pid, os.WNOHANG)
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
