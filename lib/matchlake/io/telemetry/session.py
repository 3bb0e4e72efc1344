"""The export of one job: providers of OpenTelemetry, the log, and an end that does not wait."""

import logging
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from matchlake.io.secrets import SecretStore
from matchlake.io.secrets.masking import masked
from matchlake.io.telemetry.exporters import Exporters, build_exporters
from matchlake.io.telemetry.guarded import Health
from matchlake.io.telemetry.names import METRICS
from matchlake.io.telemetry.params import TelemetryParams
from matchlake.io.telemetry.recorder import count, install, observe, remove

_log = logging.getLogger(__name__)
_SECONDS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1_800, 3_600, 14_400)
"""Bounds of the histograms; all of them are of seconds."""
_DELAY = 2_000
"""Milliseconds between two exports of spans and of log records."""
_NOISY = ("opentelemetry", "azure.core", "azure.monitor", "azure.identity")
_SEVERITIES = {"DEBUG": 5, "INFO": 9, "WARNING": 13, "ERROR": 17, "CRITICAL": 21}


@contextmanager
def reporting_to(
    params: TelemetryParams, secrets: SecretStore, job: str, env: str, credential: Any = None
) -> Iterator[list[Health]]:
    """Exports what is recorded meanwhile: a span and the time of the job, its steps, its log.

    The job itself waits for no endpoint. At the end it waits for endpoints that have answered
    so far, at most `params.flush_seconds`. Raises ConfigError if packages are missing.
    """
    if not params.is_on:
        yield []
        return
    session = _Session(params, build_exporters(params, secrets, credential), job, env)
    began, outcome = time.monotonic(), "failed"
    install(session)
    session.begin()
    try:
        with session.span(f"job {job}", {}):
            yield session.health
        outcome = "done"
    finally:
        count("matchlake.job.runs", 1, outcome=outcome)
        observe("matchlake.job.seconds", time.monotonic() - began, outcome=outcome)
        remove(session)
        session.close(params.flush_seconds)


class _Session:
    """The recorder that exports."""

    def __init__(self, params: TelemetryParams, made: Exporters, job: str, env: str) -> None:
        # These loggers write a line or a trace per failure. `Health` logs the first failure
        # instead.
        for name in _NOISY:
            logging.getLogger(name).setLevel(logging.CRITICAL)
        from opentelemetry.sdk._logs import LoggerProvider  # noqa: PLC0415 - the extra telemetry
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415

        self.health, self._job = made.health, job
        names = {"service.name": "matchlake", "service.version": _version()}
        resource = Resource({**names, "deployment.environment": env, "matchlake.job": job})
        readers = _readers(params, made.metrics)
        self._meters = _meters(readers, resource)
        tracers = TracerProvider(resource=resource, shutdown_on_exit=False)
        loggers = LoggerProvider(resource=resource, shutdown_on_exit=False)
        spans, logs = _processors(params, made)
        for each in spans:
            tracers.add_span_processor(each)
        for each in logs:
            loggers.add_log_record_processor(each)
        ended = zip(
            (*made.metrics, *made.spans, *made.logs), (*readers, *spans, *logs), strict=True
        )
        self._ends = [(exporter.health, each.shutdown) for exporter, each in ended]
        self._waiting: list[threading.Thread] = []
        self._tracer = tracers.get_tracer("matchlake")
        self._instruments = _instruments(self._meters.get_meter("matchlake"))
        self._handler = _LogExport(loggers.get_logger("matchlake"))
        logging.getLogger("matchlake").addHandler(self._handler)

    def begin(self) -> None:
        """Exports the first point at once, in the background, to learn which endpoints answer."""
        self.point("matchlake.job.starts", 1, {})
        flush = self._meters.force_flush
        threading.Thread(target=flush, daemon=True, name="telemetry start").start()

    def point(self, name: str, value: float, attributes: Mapping[str, str]) -> None:
        """Records a value; the job is one of its attributes."""
        self._instruments[name](value, {"job": self._job, **attributes})

    def span(self, name: str, attributes: Mapping[str, str]) -> Any:
        """A child of the current span. It records that an error happened, but not the message."""
        return self._tracer.start_as_current_span(
            name,
            attributes={"job": self._job, **attributes},
            record_exception=False,
            set_status_on_exception=False,
        )

    def close(self, seconds: float) -> None:
        """Ends the export in the background; waits for endpoints that answer."""
        logging.getLogger("matchlake").removeHandler(self._handler)
        for health, end in self._ends:
            thread = threading.Thread(target=end, daemon=True, name="telemetry end")
            thread.start()
            self._waiting += [thread] if health.last_was_good else []
        until = time.monotonic() + seconds
        for thread in self._waiting:
            thread.join(max(0.0, until - time.monotonic()))
        for each in self.health:
            if each.lost:
                _log.warning("telemetry: %s: %d exports lost", each.endpoint, each.lost)


class _LogExport(logging.Handler):
    """Sends masked log records to OpenTelemetry, except those of telemetry itself."""

    def __init__(self, logger: Any) -> None:
        super().__init__(logging.INFO)
        self._logger = logger

    def emit(self, record: logging.LogRecord) -> None:
        """Queues the record; a full queue drops it."""
        from opentelemetry._logs import SeverityNumber  # noqa: PLC0415 - the extra telemetry

        if record.name.startswith("matchlake.io.telemetry"):
            return
        try:
            if record.levelno >= logging.ERROR:
                count("matchlake.log.errors", 1)
            self._logger.emit(
                timestamp=int(record.created * 1e9),
                severity_text=record.levelname,
                severity_number=SeverityNumber(_SEVERITIES.get(record.levelname, 9)),
                body=masked(record.getMessage()),
                attributes={"logger": record.name},
            )
        except Exception:  # noqa: BLE001 - telemetry must not end a job
            self.handleError(record)


def _readers(params: TelemetryParams, exporters: list[Any]) -> list[Any]:
    from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader  # noqa: PLC0415

    return [
        PeriodicExportingMetricReader(
            each, params.interval_seconds * 1000, params.timeout_seconds * 1000
        )
        for each in exporters
    ]


def _meters(readers: list[Any], resource: Any) -> Any:
    from opentelemetry.sdk.metrics import Histogram, MeterProvider  # noqa: PLC0415 - the extra
    from opentelemetry.sdk.metrics.view import (  # noqa: PLC0415
        ExplicitBucketHistogramAggregation,
        View,
    )

    buckets = ExplicitBucketHistogramAggregation(_SECONDS)
    views = [View(instrument_type=Histogram, aggregation=buckets)]
    return MeterProvider(readers, resource, shutdown_on_exit=False, views=views)


def _processors(params: TelemetryParams, made: Exporters) -> tuple[list[Any], list[Any]]:
    """The queues of spans and of log records."""
    from opentelemetry.sdk._logs.export import BatchLogRecordProcessor  # noqa: PLC0415 - the extra
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

    sizes: Any = {
        "max_queue_size": params.queue_size,
        "max_export_batch_size": min(512, params.queue_size),
        "schedule_delay_millis": _DELAY,
    }
    spans = [BatchSpanProcessor(each, **sizes) for each in made.spans]
    return spans, [BatchLogRecordProcessor(each, **sizes) for each in made.logs]


def _instruments(meter: Any) -> dict[str, Any]:
    """The function that records each metric."""
    made: dict[str, Any] = {}
    for metric in METRICS.values():
        options = {"unit": metric.unit, "description": metric.comment}
        create = getattr(meter, f"create_{metric.kind}")
        instrument = create(metric.name, **options)
        method = {"counter": "add", "gauge": "set", "histogram": "record"}[metric.kind]
        made[metric.name] = getattr(instrument, method)
    return made


def _version() -> str:
    try:
        return version("matchlake")
    except PackageNotFoundError:
        return "unknown"
