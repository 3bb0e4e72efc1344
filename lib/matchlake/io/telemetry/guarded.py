"""Exporters that cannot harm a job: failures are counted, and the first failure is logged."""

import logging
import threading
from collections.abc import Callable
from typing import Any

from matchlake.io.secrets.masking import masked

_log = logging.getLogger(__name__)


class Health:
    """How the exports of one endpoint went."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        self.sent = 0
        """The number of successful exports."""
        self.lost = 0
        """The number of failed exports."""
        self.last_was_good: bool | None = None
        """Whether the last export succeeded; None before the end of the first export."""
        self._lock = threading.Lock()

    def note(self, *, good: bool, why: str = "") -> None:
        """Counts an export. The first failure is logged as a warning."""
        with self._lock:
            self.sent += good
            self.lost += not good
            self.last_was_good = good
            is_first = self.lost == 1 and not good
        if is_first:
            text = "telemetry: %s takes nothing%s; the job goes on without it"
            _log.warning(text, self.endpoint, f" ({masked(why)})" if why else "")


class Guarded:
    """An exporter of OpenTelemetry whose failures stay inside.

    `failure` is what a failed export returns. The other attributes are those of the exporter.
    """

    def __init__(self, exporter: Any, health: Health, failure: Any) -> None:
        self._exporter, self.health, self._failure = exporter, health, failure

    def __getattr__(self, name: str) -> Any:
        return getattr(self._exporter, name)

    def export(self, batch: Any, *more: Any, **options: Any) -> Any:
        """Exports a batch. If that fails, returns `failure` and does not raise."""
        return self._guarded(lambda: self._exporter.export(batch, *more, **options))

    def force_flush(self, *_more: Any, **_options: Any) -> bool:
        """Nothing waits in an exporter."""
        return True

    def shutdown(self, *more: Any, **options: Any) -> None:
        """Ends the exporter; errors are only logged."""
        try:
            self._exporter.shutdown(*more, **options)
        except Exception as error:  # noqa: BLE001 - telemetry must not end a job
            _log.debug("%s did not shut down: %s", self.health.endpoint, masked(str(error)))

    def _guarded(self, export: Callable[[], Any]) -> Any:
        try:
            result = export()
        except Exception as error:  # noqa: BLE001 - telemetry must not end a job
            self.health.note(good=False, why=f"{type(error).__name__}: {error}")
            return self._failure
        self.health.note(good=getattr(result, "name", "SUCCESS") == "SUCCESS")
        return result
