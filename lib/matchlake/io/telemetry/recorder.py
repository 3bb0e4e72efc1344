"""Records counters, gauges, histograms and steps. No endpoint makes a call fail or wait.

A value goes into OpenTelemetry's instruments in memory. Attributes pass the masking of secrets.
"""

import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any, Protocol

from matchlake.io.secrets.masking import masked
from matchlake.io.telemetry.names import METRICS

_log = logging.getLogger(__name__)
_LONGEST = 256


class Recorder(Protocol):
    """Takes points and spans; `session` has the one that exports."""

    def point(self, name: str, value: float, attributes: Mapping[str, str]) -> None:
        """Records a value of the metric `name`."""

    def span(self, name: str, attributes: Mapping[str, str]) -> Any:
        """A context for a span."""


_current: list[Recorder] = []


def install(recorder: Recorder) -> None:
    """Sends all later calls to `recorder`."""
    _current.append(recorder)


def remove(recorder: Recorder) -> None:
    """Removes the recorder. Calls go to the previous recorder, or do nothing."""
    _current.remove(recorder)


def count(name: str, value: float, **attributes: object) -> None:
    """Adds `value` to a counter of `names.METRICS`; ignores a negative or non-finite value."""
    if value > 0:
        _record(name, "counter", value, attributes)


def set_level(name: str, value: float, **attributes: object) -> None:
    """Sets a gauge of `names.METRICS`."""
    _record(name, "gauge", value, attributes)


def observe(name: str, value: float, **attributes: object) -> None:
    """Adds `value` to a histogram of `names.METRICS`."""
    _record(name, "histogram", value, attributes)


@contextmanager
def step(name: str, **attributes: object) -> Iterator[None]:
    """A span for a part of a job, whose time is also in `matchlake.step.seconds`."""
    if not _current:
        yield
        return
    began = time.monotonic()
    with _span(name, attributes):
        try:
            yield
        finally:
            observe("matchlake.step.seconds", time.monotonic() - began, step=name)


def _span(name: str, attributes: Mapping[str, object]) -> Any:
    try:
        return _current[-1].span(masked(name), _texts(attributes))
    except Exception as error:  # noqa: BLE001 - telemetry must not end a job
        _log.debug("a span is lost: %s", error)
        return nullcontext()


def _record(name: str, kind: str, value: float, attributes: Mapping[str, object]) -> None:
    if not _current or value != value or abs(value) == float("inf"):  # noqa: PLR0124 - NaN
        return
    if METRICS[name].kind != kind:
        raise TypeError(f"{name} is a {METRICS[name].kind}, not a {kind}")
    try:
        _current[-1].point(name, float(value), _texts(attributes))
    except Exception as error:  # noqa: BLE001 - telemetry must not end a job
        _log.debug("a point of %s is lost: %s", name, error)


def _texts(attributes: Mapping[str, object]) -> dict[str, str]:
    return {name: masked(str(value))[:_LONGEST] for name, value in attributes.items()}
