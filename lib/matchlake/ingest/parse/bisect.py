"""Finds the few items that fail, among many that are only cheap to try together."""

from collections.abc import Callable


def bisect_failures(count: int, passes: Callable[[int, int], bool]) -> list[int]:
    """The indices below `count` that fail, in order.

    `passes(start, stop)` says whether a whole range passes. It is called for halves, so k failures
    cost about 2 k log2(count / k) calls.
    """
    failures = []
    ranges = [(0, count)] if count else []
    while ranges:
        start, stop = ranges.pop()
        if passes(start, stop):
            continue
        if stop - start == 1:
            failures.append(start)
        else:
            middle = (start + stop) // 2
            ranges += [(middle, stop), (start, middle)]
    return failures
