"""Finding the few that fail among many that are only cheap to try together."""

from collections.abc import Callable


def failing(count: int, passes: Callable[[int, int], bool]) -> list[int]:
    """The places below `count` that fail, in order.

    `passes(start, stop)` tells whether all of a range pass. It is asked about halves, so k that
    fail cost about 2 k log2(count / k) questions.
    """
    found = []
    ranges = [(0, count)] if count else []
    while ranges:
        start, stop = ranges.pop()
        if passes(start, stop):
            continue
        if stop - start == 1:
            found.append(start)
        else:
            middle = (start + stop) // 2
            ranges += [(middle, stop), (start, middle)]
    return found
