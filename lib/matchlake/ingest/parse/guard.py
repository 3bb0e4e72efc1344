"""Finds the values that end the process that decodes them, by decoding them in child processes.

A crash of a decoder, such as a segmentation fault or a lack of memory, is not an exception: it ends
the process, and with it the task and the batch.
"""

import contextlib
import faulthandler
import os
import resource
from collections import deque
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa

MAX_CHILDREN = 1000
"""The largest number of child processes per array of values, which limits the time."""


def killers(values: pa.Array, decode: Callable[[pa.Array], object]) -> list[int]:
    """The rows with values that end the process that decodes them, in order.

    It halves ranges of values until each such value is alone. After MAX_CHILDREN child processes,
    all values of the remaining ranges count as found.
    """
    found: list[int] = []
    waiting = deque([(0, len(values))] if len(values) else [])
    for _ in range(MAX_CHILDREN):
        if not waiting:
            break
        start, stop = waiting.popleft()
        if _survives(decode, values[start:stop]):
            continue
        if stop - start == 1:
            found.append(start)
        else:
            middle = (start + stop) // 2
            waiting += [(start, middle), (middle, stop)]
    return sorted([*found, *(row for start, stop in waiting for row in range(start, stop))])


def _survives(decode: Callable[[pa.Array], object], values: pa.Array) -> bool:
    """Whether a child process survives decoding the values. It also survives an exception."""
    child = os.fork()
    if not child:
        try:
            _expect_the_end()
            decode(values)
        finally:
            os._exit(0)  # skips the exit handlers of the parent
    _, status = os.waitpid(child, 0)
    return os.WIFEXITED(status)


def _expect_the_end() -> None:
    """Turns off core files and traces. If memory runs out, Linux ends this process first."""
    faulthandler.disable()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
