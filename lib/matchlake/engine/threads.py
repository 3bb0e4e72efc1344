"""Row ranges of about equal work, shared out among threads."""

import itertools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np

from matchlake.engine.csr import Ints

PIECES, LEAST = 64, 8192
"""The greatest number of ranges, and the least work in one: the start of a thread takes as long.
Both do not depend on the number of threads, so sums are equal for any number."""

_T = TypeVar("_T")


def on_threads(work: Callable[[int, int], _T], indptr: Ints, threads: int) -> list[_T]:
    """Results of `work(start, stop)`, in order, for ranges that together are all rows."""
    rows = len(indptr) - 1
    effort = indptr + 32 * np.arange(rows + 1)
    pieces = min(PIECES, max(1, int(effort[-1]) // LEAST))
    marks = np.searchsorted(effort, np.linspace(0, effort[-1], pieces + 1))
    marks[0], marks[-1] = 0, rows
    ranges = [(int(a), int(b)) for a, b in itertools.pairwise(marks) if a < b]
    if threads == 1 or len(ranges) == 1:
        return [work(start, stop) for start, stop in ranges]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(lambda part: work(*part), ranges))
