"""Counters and a histogram of all processes of a server, in Prometheus' text format.

Each process counts in its own row of a small file, which all processes map into memory. So a scrape
of any process shows the sums, and a restarted process continues its counts.
"""

import threading
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

BUCKETS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
"""Upper bounds of the latency histogram's buckets, in seconds."""

ROUTES = ("invocations", "infer", "recommend", "similar", "other")
STATUSES = ("2xx", "4xx", "429", "5xx")


class Counter(NamedTuple):
    """A counter without labels."""

    name: str
    help: str


COUNTERS = (
    Counter("matchlake_rows_total", "Rows and lists that were answered."),
    Counter("matchlake_received_bytes_total", "Bytes of the bodies of requests."),
    Counter("matchlake_sent_bytes_total", "Bytes of the bodies of answers."),
    Counter("matchlake_model_swaps_total", "Models that replaced another one."),
    Counter("matchlake_model_refusals_total", "Models that were found but refused."),
    Counter("matchlake_erased_user_requests_total", "Requests for erased users."),
    Counter("matchlake_events_sent_total", "Events of the prediction log that were delivered."),
    Counter("matchlake_events_lost_total", "Events of the prediction log that were lost."),
    Counter("matchlake_connections_refused_total", "Connections beyond the limit."),
)
_PLACES = {counter.name: place for place, counter in enumerate(COUNTERS)}
_REQUESTS = len(COUNTERS)
_ANSWERS = {each: _REQUESTS + place for place, each in enumerate(product(ROUTES, STATUSES))}
_OTHERS = _ANSWERS["other", "4xx"]
_HISTOGRAM = _REQUESTS + len(ROUTES) * len(STATUSES)
_SUM = _HISTOGRAM + len(BUCKETS) + 1
_IN_FLIGHT, _WAITING = _SUM + 1, _SUM + 2
_WIDTH = _SUM + 3


class Metrics:
    """The counters of one process, row `worker` of the file at `path`."""

    def __init__(self, path: Path | None = None, worker: int = 0, workers: int = 1) -> None:
        shape = (workers, _WIDTH)
        if path is None:
            self._all = np.zeros(shape)
        else:
            self._all = np.memmap(path, np.float64, "r+", shape=shape)
        # The row is used as a memoryview, because NumPy is slow for single numbers.
        self._own: Any = memoryview(self._all[worker])
        self._lock = threading.Lock()
        self._own[_IN_FLIGHT] = self._own[_WAITING] = 0.0

    @staticmethod
    def create(path: Path, workers: int) -> None:
        """Writes the file for `workers` processes."""
        path.write_bytes(np.zeros((workers, _WIDTH)).tobytes())

    def count(self, name: str, by: float = 1.0) -> None:
        """Adds to a counter of COUNTERS."""
        with self._lock:
            self._own[_PLACES[name]] += by

    def request(self, route: str, status: int, seconds: float) -> None:
        """Counts a response."""
        kind = "429" if status == 429 else f"{status // 100}xx"  # noqa: PLR2004 - its own column
        self._own[_ANSWERS.get((route, kind), _OTHERS)] += 1
        self._own[_HISTOGRAM + bisect_left(BUCKETS, seconds)] += 1
        self._own[_SUM] += seconds

    def gauge(self, in_flight: int, waiting: int) -> None:
        """Sets the number of requests in progress, and of events that wait for the broker."""
        self._own[_IN_FLIGHT], self._own[_WAITING] = in_flight, waiting

    def value(self, name: str) -> float:
        """Returns a counter, summed over all processes."""
        return float(self._all[:, _PLACES[name]].sum())

    def text(self, model: Mapping[str, str]) -> str:
        """Returns all metrics in Prometheus' format.

        `model` has the labels of `matchlake_model_info`.
        """
        sums = self._all.sum(axis=0)
        lines = [*_head("matchlake_model_info", "gauge", "The model that this process serves.")]
        lines.append(f"matchlake_model_info{_labels(model)} 1")
        for place, counter in enumerate(COUNTERS):
            lines += [*_head(counter.name, "counter", counter.help)]
            lines.append(f"{counter.name} {sums[place]:.0f}")
        lines += _head("matchlake_requests_total", "counter", "Answers by route and status.")
        for (route, status), place in _ANSWERS.items():
            labels = _labels({"route": route, "status": status})
            lines.append(f"matchlake_requests_total{labels} {sums[place]:.0f}")
        lines += _head("matchlake_requests_in_flight", "gauge", "Requests that are answered now.")
        lines.append(f"matchlake_requests_in_flight {sums[_IN_FLIGHT]:.0f}")
        lines += _head("matchlake_events_waiting", "gauge", "Events that wait for the broker.")
        lines.append(f"matchlake_events_waiting {sums[_WAITING]:.0f}")
        return "\n".join([*lines, *_histogram(sums), ""])


def _histogram(sums: np.ndarray) -> Iterable[str]:
    name, below = "matchlake_request_seconds", 0.0
    yield from _head(name, "histogram", "Seconds from the request's headers to its answer.")
    for place, limit in enumerate((*map(str, BUCKETS), "+Inf")):
        below += float(sums[_HISTOGRAM + place])
        yield f'{name}_bucket{{le="{limit}"}} {below:.0f}'
    yield f"{name}_sum {float(sums[_SUM])!r}"
    yield f"{name}_count {below:.0f}"


def _head(name: str, kind: str, text: str) -> Iterable[str]:
    return f"# HELP {name} {text}", f"# TYPE {name} {kind}"


def _labels(labels: Mapping[str, str]) -> str:
    escaped = (
        f'{name}="{value}"'
        for name, value in (
            (n, v.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n"))
            for n, v in labels.items()
        )
    )
    return f"{{{','.join(escaped)}}}"
