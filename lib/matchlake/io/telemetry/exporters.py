"""Builds the exporters of conf. Their packages are the extra `telemetry`, loaded only here."""

import os
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from matchlake.errors import ConfigError
from matchlake.io.secrets import SecretStore
from matchlake.io.telemetry.guarded import Guarded, Health
from matchlake.io.telemetry.params import LogAnalyticsParams, TelemetryParams

_AUDIENCE = "https://monitor.azure.com/.default"


class Exporters(NamedTuple):
    """The exporters of each signal, and the health of each endpoint."""

    metrics: list[Any]
    spans: list[Any]
    logs: list[Any]
    health: list[Health]


def build_exporters(
    params: TelemetryParams, secrets: SecretStore, credential: Any = None
) -> Exporters:
    """The exporters of `params`; raises ConfigError if their packages are missing.

    `credential` replaces the login at Log Analytics.
    """
    # Without these the client of Application Insights reports about itself to its vendor.
    os.environ.setdefault("APPLICATIONINSIGHTS_STATSBEAT_DISABLED_ALL", "true")
    os.environ.setdefault("APPLICATIONINSIGHTS_SDKSTATS_DISABLED", "true")
    made = Exporters([], [], [], [])
    if params.otlp:
        _add_otlp(made, params.otlp, params.timeout_seconds)
    if params.app_insights:
        _add_app_insights(made, secrets.get(params.app_insights).reveal(), params.timeout_seconds)
    if params.log_analytics:
        _add_log_analytics(made, params, params.log_analytics, secrets, credential)
    if params.prometheus:
        health = Health(params.prometheus)
        rows = _import("matchlake.io.telemetry.rows")
        made.health.append(health)
        made.metrics.append(_guard_metrics(rows.file_exporter(Path(params.prometheus)), health))
    return made


def _add_otlp(made: Exporters, endpoint: str, timeout: float) -> None:
    health = Health(endpoint)
    http = "opentelemetry.exporter.otlp.proto.http"
    options = {"timeout": timeout}
    metrics = _import(f"{http}.metric_exporter").OTLPMetricExporter
    spans = _import(f"{http}.trace_exporter").OTLPSpanExporter
    logs = _import(f"{http}._log_exporter").OTLPLogExporter
    made.health.append(health)
    made.metrics.append(_guard_metrics(metrics(f"{endpoint}/v1/metrics", **options), health))
    made.spans.append(_guard_spans(spans(f"{endpoint}/v1/traces", **options), health))
    made.logs.append(_guard_logs(logs(f"{endpoint}/v1/logs", **options), health))


def _add_app_insights(made: Exporters, connection: str, timeout: float) -> None:
    azure = _import("azure.monitor.opentelemetry.exporter")
    health = Health("Application Insights")
    # A file of unsent records could hold user ids, and would grow while the endpoint is down.
    options: dict[str, Any] = {
        "connection_string": connection,
        "disable_offline_storage": True,
        "retry_total": 0,
        "read_timeout": timeout,
    }
    try:
        three = [
            getattr(azure, f"AzureMonitor{kind}Exporter")(**options)
            for kind in ("Metric", "Trace", "Log")
        ]
    except ValueError:
        raise ConfigError(
            "telemetry.app_insights: the secret is no connection string of Application Insights; "
            "it begins with InstrumentationKey="
        ) from None
    made.health.append(health)
    made.metrics.append(_guard_metrics(three[0], health))
    made.spans.append(_guard_spans(three[1], health))
    made.logs.append(_guard_logs(three[2], health))


def _add_log_analytics(
    made: Exporters,
    params: TelemetryParams,
    target: LogAnalyticsParams,
    secrets: SecretStore,
    credential: Any,
) -> None:
    ingestion = _import("azure.monitor.ingestion")
    health, rows = Health(target.endpoint), _import("matchlake.io.telemetry.rows")
    options: dict[str, Any] = {"connection_verify": target.ca_file} if target.ca_file else {}
    client = ingestion.LogsIngestionClient(
        target.endpoint,
        credential or _credential(target, secrets),
        credential_scopes=[_AUDIENCE],
        retry_total=0,
        connection_timeout=params.timeout_seconds,
        read_timeout=params.timeout_seconds,
        **options,
    )

    def upload(points: list[dict[str, Any]]) -> None:
        client.upload(rule_id=target.rule, stream_name=target.stream, logs=points)

    made.health.append(health)
    made.metrics.append(_guard_metrics(rows.rows_exporter(upload), health))


def _credential(target: LogAnalyticsParams, secrets: SecretStore) -> Any:
    identity = _import("azure.identity")
    if target.client_secret is None:
        return identity.DefaultAzureCredential()
    secret = secrets.get(target.client_secret).reveal()
    return identity.ClientSecretCredential(target.tenant, target.client_id, secret)


def _guard_metrics(exporter: Any, health: Health) -> Any:
    from opentelemetry.sdk.metrics.export import MetricExportResult  # noqa: PLC0415 - the extra

    return Guarded(exporter, health, MetricExportResult.FAILURE)


def _guard_spans(exporter: Any, health: Health) -> Any:
    from opentelemetry.sdk.trace.export import SpanExportResult  # noqa: PLC0415 - the extra

    return Guarded(exporter, health, SpanExportResult.FAILURE)


def _guard_logs(exporter: Any, health: Health) -> Any:
    from opentelemetry.sdk._logs.export import LogRecordExportResult  # noqa: PLC0415 - the extra

    return Guarded(exporter, health, LogRecordExportResult.FAILURE)


def _import(module: str) -> Any:
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"telemetry needs the package of {error.name}, which is not installed. Install it with "
            "pip install 'matchlake[telemetry]', or remove `telemetry` from conf."
        ) from None
