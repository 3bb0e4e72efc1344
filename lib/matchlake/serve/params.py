"""The parameters of `matchlake serve`."""

from typing import Self

from pydantic import Field, field_validator, model_validator

from matchlake.io.secrets.value import SecretRef
from matchlake.params import Params, Settable

_LOOPBACK = ("127.0.0.1", "localhost", "::1")


class PredictionLogParams(Params):
    """The event of each answer, sent to a topic."""

    topic: str = Field(pattern=r"^[A-Za-z0-9._-]{1,249}$")
    """The topic; a stream of conf brings it to bronze.prediction_events."""
    queue_events: int = Field(10_000, ge=1, le=10_000_000)
    """Events that wait for the broker at most; later ones are lost, and counted."""
    buffer: str | None = None
    """A SQLite file that keeps the events while no broker answers; null: the queue alone."""
    buffer_events: int = Field(1_000_000, ge=1)
    """Events that the file keeps at most; later ones are lost, and counted."""


class TlsParams(Params):
    """The server's certificate."""

    certificate: str
    """A PEM file with the certificate and its chain."""
    key: str
    """A PEM file with the private key; only its owner may read it."""


class ServingParams(Params):
    """The server of `matchlake serve`."""

    host: str = "127.0.0.1"
    """The address it listens at; 0.0.0.0: all of the machine's."""
    port: Settable[int] = Field(8080, ge=0, le=65_535)
    """Its port; 0: a free one, which the server prints."""
    workers: Settable[int] = Field(1, ge=1, le=64)
    """Processes; each uses one core."""
    token: SecretRef | None = None
    """The bearer token of requests, a secret; null: none, on this machine's own address only."""
    tls: TlsParams | None = None
    """Null: http."""
    allow_open: bool = False
    """Whether to listen at an address of the network without a token."""
    max_rows: int = Field(1000, ge=1)
    """Rows, or users, of one request."""
    max_body_bytes: int = Field(1_048_576, ge=1)
    """Bytes of one request's body."""
    max_concurrent: int = Field(128, ge=1)
    """Requests of one process at a time; more are answered with 429."""
    max_connections: int = Field(1024, ge=1)
    """Open connections of one process; more are closed at once."""
    request_seconds: float = Field(10, gt=0)
    """Time for a client to send its request, or to read a part of its answer; and for a running
    answer when the server stops."""
    idle_seconds: float = Field(75, gt=0)
    """Time that a connection without a request stays open."""
    refresh_seconds: Settable[float | None] = Field(300, ge=1)
    """Time between two looks for a new champion in the registry; null: none."""
    cache: str | None = None
    """Folder for exports of registered models; null: `serving` in `lakehouse`, or the user's cache
    folder."""
    log: PredictionLogParams | None = None
    """Null: answers are not logged."""

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
                f"host {self.host} is open to the network: set token to a secret, or allow_open to "
                "true if something in front of the server checks the callers"
            )
        return self
