"""The median rule of Optuna and Vizier, which stops bad trials early."""

import statistics
import threading
from collections import defaultdict

_FIRST = 5
"""The number of complete trials before any trial can be pruned."""


class Pruned(Exception):  # noqa: N818 - it ends a trial, and is no error
    """Ends a trial early, because earlier trials were better at the same step."""


class MedianRule:
    """Prunes a trial whose best report so far is worse than the median of complete trials.

    The median is that of their best reports up to the same step. The methods are thread-safe.
    """

    def __init__(self, *, maximize: bool) -> None:
        self._sign = -1.0 if maximize else 1.0
        self._complete: list[dict[int, float]] = []
        self._running: dict[int, list[tuple[int, float]]] = defaultdict(list)
        self._lock = threading.Lock()

    def report(self, number: int, step: int, value: float) -> str | None:
        """Records a report. Returns why the trial should end, or None."""
        with self._lock:
            reports = self._running[number]
            reports.append((step, value))
            earlier = [self._best_until(each, step) for each in self._complete]
            others = [each for each in earlier if each is not None]
            if len(others) < _FIRST:
                return None
            median = statistics.median(others)
            best = min(self._sign * each for _, each in reports)
            if best <= median:
                return None
            shown = f"{self._sign * best:.6g} against the median {self._sign * median:.6g}"
            return f"pruned at step {step}: {shown} of {len(others)} trials"

    def reports(self, number: int) -> tuple[tuple[int, float], ...]:
        """Returns what a trial has reported so far."""
        with self._lock:
            return tuple(self._running.get(number, ()))

    def complete(self, reports: tuple[tuple[int, float], ...]) -> None:
        """Takes the reports of a complete trial."""
        with self._lock:
            if reports:
                self._complete.append(dict(reports))

    def _best_until(self, reports: dict[int, float], step: int) -> float | None:
        return min((self._sign * v for s, v in reports.items() if s <= step), default=None)
