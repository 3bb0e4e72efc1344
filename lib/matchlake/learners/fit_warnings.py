"""Records the warnings of fits that run in several threads.

`warnings.catch_warnings` changes the filters of the whole process, so two threads that use it at
the same time mix up their warnings or filters. Here the first fit changes the filters, and the last
fit restores them. Each thread gets its own warnings.
"""

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_lock = threading.Lock()
_thread = threading.local()
_open: "list[warnings.catch_warnings[Any]]" = []
"""The saved filters, while fits run."""
_running = 0


@contextmanager
def recorded_warnings() -> Iterator[list[str]]:
    """Yields a list that collects the first line of each warning of this thread."""
    global _running  # noqa: PLW0603 - the filters are global, too
    with _lock:
        _running += 1
        if _running == 1:
            _open.append(warnings.catch_warnings())
            _open[0].__enter__()
            warnings.simplefilter("always")
            warnings.showwarning = _record(warnings.showwarning)
    before, _thread.texts = getattr(_thread, "texts", None), []
    try:
        yield _thread.texts
    finally:
        _thread.texts = before
        with _lock:
            _running -= 1
            if not _running:
                _open.pop().__exit__(None, None, None)


def _record(plain: Any) -> Any:
    def show(message: Warning | str, *more: Any, **options: Any) -> None:
        texts = getattr(_thread, "texts", None)
        if texts is None:
            plain(message, *more, **options)
        else:
            texts.append(str(message).strip().partition("\n")[0])

    return show
