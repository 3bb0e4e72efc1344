"""Where telemetry goes; reading it imports no exporter."""

from typing import Self
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from matchlake.io.secrets.value import SecretRef
from matchlake.params import Params


class LogAnalyticsParams(Params):
    """A data collection rule of Azure Monitor. Each metric point is one row of its stream."""

    endpoint: str
    """The address of the data collection endpoint."""
    rule: str = Field(pattern=r"^dcr-[0-9a-f]{8,64}$")
    """The immutable id of the rule."""
    stream: str = Field("Custom-MatchlakeMetrics_CL", pattern=r"^Custom-[A-Za-z0-9_]{1,80}$")
    """The stream of the rule. Columns: TimeGenerated, Name, Value, Count, Unit, Attributes."""
    tenant: str | None = None
    """The directory of the application; null: the identity of the machine or pod."""
    client_id: str | None = None
    """The application's id."""
    client_secret: SecretRef | None = None
    """The reference to the application's secret."""
    ca_file: str | None = None
    """PEM file of the authorities that may sign the endpoint's certificate; null: Python's own."""

    @field_validator("endpoint")
    @classmethod
    def _require_https(cls, url: str) -> str:
        if urlsplit(url).scheme != "https":
            raise ValueError("must be an https address, because a token is sent there")
        return url

    @model_validator(mode="after")
    def _check_login(self) -> Self:
        given = [each is not None for each in (self.tenant, self.client_id, self.client_secret)]
        if any(given) and not all(given):
            raise ValueError("tenant, client_id and client_secret go together; or leave out all")
        return self


class TelemetryParams(Params):
    """The exporters of metrics, traces and logs; without one nothing is recorded."""

    otlp: str | None = None
    """The address of an OpenTelemetry collector, such as http://otel-collector:4318."""
    app_insights: SecretRef | None = None
    """The reference to the connection string of Application Insights."""
    log_analytics: LogAnalyticsParams | None = None
    """Metrics as rows of a table of Log Analytics."""
    prometheus: str | None = None
    """A file for the text collector of Prometheus' node exporter; it must end in .prom."""
    interval_seconds: float = Field(15.0, ge=1)
    """Seconds between two exports of metrics."""
    timeout_seconds: float = Field(10.0, gt=0, le=60)
    """The timeout of one export, in seconds."""
    queue_size: int = Field(2_048, ge=16, le=100_000)
    """Maximum number of spans, and of log records, that wait for export; the rest is dropped."""
    flush_seconds: float = Field(5.0, ge=0, le=60)
    """Maximum seconds that a job waits at its end, for endpoints whose last export succeeded."""

    @field_validator("otlp")
    @classmethod
    def _require_http(cls, url: str | None) -> str | None:
        if url is None:
            return None
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("must be an address such as http://otel-collector:4318")
        if parts.password or parts.query:
            raise ValueError("must not hold a password or a query")
        return url.rstrip("/")

    @field_validator("prometheus")
    @classmethod
    def _require_prom(cls, path: str | None) -> str | None:
        if path is not None and not path.endswith(".prom"):
            raise ValueError("must end in .prom: the text collector reads no other file")
        return path

    @property
    def is_on(self) -> bool:
        """Whether anything is exported."""
        return any((self.otlp, self.app_insights, self.log_analytics, self.prometheus))
