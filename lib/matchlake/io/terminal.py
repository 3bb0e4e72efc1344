"""Keeps the output of other programs off the terminal."""

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

_SHOWN = 3


@contextmanager
def output_redirected() -> Iterator[BinaryIO]:
    """Redirects stdout and stderr of this process, and of the processes it starts, to a file.

    A process that starts here keeps the file open until it ends. The file has no name: it
    disappears then.
    """
    with tempfile.TemporaryFile() as log:
        sys.stdout.flush()
        sys.stderr.flush()
        ours = {number: os.dup(number) for number in (1, 2)}
        try:
            for number in ours:
                os.dup2(log.fileno(), number)
            yield log
        finally:
            for number, copy in ours.items():
                os.dup2(copy, number)
                os.close(copy)


def last_lines(log: BinaryIO) -> str:
    """The last lines of a redirected output, as one line."""
    log.seek(0)
    return " ".join(log.read().decode(errors="replace").strip().splitlines()[-_SHOWN:])
