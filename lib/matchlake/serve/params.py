"""The parameters of `matchlake serve`."""

from typing import Self

from pydantic import Field, field_validator, model_validator

from matchlake.io.secrets.value import SecretRef
from matchlake.params import Params, Settable

_LOOPBACK = ("127.0.0.1", "localhost", "::1")


class PredictionLogParams(Params):
    """The prediction log: one event per answered row, sent to a topic."""

    topic: str = Field(pattern=r"^[A-Za-z0-9._-]{1,249}$")
    """The topic; a stream of conf loads it into bronze.prediction_events."""
    queue_events: int = Field(10_000, ge=1, le=10_000_000)
    """Maximum number of events that wait for the broker; further events are lost, and counted."""
    buffer: str | None = None
    """A SQLite file that keeps the events while no broker answers; null: only the queue."""
    buffer_events: int = Field(1_000_000, ge=1)
    """Maximum number of events in the file; further events are lost, and counted."""


class TlsParams(Params):
    """The server's certificate."""

    certificate: str
    """A PEM file with the certificate and its chain."""
    key: str
    """A PEM file with the private key; only its owner may read it."""


class ServingParams(Params):
    """The server of `matchlake serve`."""

    host: str = "127.0.0.1"
    """The address at which the server listens; 0.0.0.0: all addresses of the machine."""
    port: Settable[int] = Field(8080, ge=0, le=65_535)
    """The port; 0: a free port, which the server prints."""
    workers: Settable[int] = Field(1, ge=1, le=64)
    """The number of processes; each uses one core."""
    token: SecretRef | None = None
    """The bearer token of requests, a secret; null: no token, only for local addresses of the
    machine."""
    tls: TlsParams | None = None
    """Null: http."""
    allow_open: bool = False
    """Whether the server may listen at a network address without a token."""
    max_rows: int = Field(1000, ge=1)
    """Maximum number of rows, or users, of one request."""
    max_body_bytes: int = Field(1_048_576, ge=1)
    """Maximum size of a request's body, in bytes."""
    max_concurrent: int = Field(128, ge=1)
    """Maximum number of concurrent requests of one process; further requests get 429."""
    max_connections: int = Field(1024, ge=1)
    """Maximum number of open connections of one process; further connections are closed."""
    request_seconds: float = Field(10, gt=0)
    """Time limit for a client to send its request, or to read a part of the response; also for
    running requests when the server stops."""
    idle_seconds: float = Field(75, gt=0)
    """Time that an idle connection stays open."""
    refresh_seconds: Settable[float | None] = Field(300, ge=1)
    """Time between two checks for a new champion in the registry; null: no checks."""
    cache: str | None = None
    """Folder for exports of registered models; null: `serving` in `lakehouse`, or the user's cache
    folder."""
    log: PredictionLogParams | None = None
    """The prediction log; null: predictions are not logged."""

    @field_validator("host")
    @classmethod
    def _check_host(cls, host: str) -> str:
        if not host or any(each.isspace() for each in host):
            raise ValueError("must be an address or a name of this machine")
        return host

    @model_validator(mode="after")
    def _check_access(self) -> Self:
        if self.host not in _LOOPBACK and self.token is None and not self.allow_open:
            raise ValueError(
                f"host {self.host} is open to the network: set token to a secret, or allow_open "
                "to true if a proxy in front of the server authenticates the callers"
            )
        return self
