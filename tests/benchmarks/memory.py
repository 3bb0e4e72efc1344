"""Peak memory of a process and all its children (the JVM, the Python workers)."""

import threading
from types import TracebackType
from typing import Self

import psutil


class PeakMemory:
    """Samples every half second while it is open; all in MiB.

    `peak` is the most since the last `restart`, and `first` what there was then.
    """

    def __init__(self) -> None:
        self.peak = self.first = 0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._done.set()
        self._thread.join()

    def restart(self) -> None:
        """Forgets the peak so far."""
        self.peak = self.first = _used()

    def _watch(self) -> None:
        while not self._done.wait(0.5):
            self.peak = max(self.peak, _used())


def _used() -> int:
    me, total = psutil.Process(), 0
    for process in [me, *me.children(recursive=True)]:
        try:
            total += process.memory_full_info().pss
        except (psutil.Error, AttributeError):
            continue
    return total >> 20
