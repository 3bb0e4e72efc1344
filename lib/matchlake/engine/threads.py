"""Row ranges of about equal work, shared out among threads."""

import itertools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from matchlake.engine.csr import Ints

PIECES = 64


def on_threads(work: Callable[[int, int], None], indptr: Ints, threads: int) -> None:
    """Calls `work(start, stop)` for ranges that together are all rows."""
    rows = len(indptr) - 1
    effort = indptr + 32 * np.arange(rows + 1)
    marks = np.searchsorted(effort, np.linspace(0, effort[-1], PIECES + 1))
    marks[0], marks[-1] = 0, rows
    ranges = [(int(a), int(b)) for a, b in itertools.pairwise(marks) if a < b]
    if threads == 1:
        for start, stop in ranges:
            work(start, stop)
        return
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(lambda part: work(*part), ranges))
