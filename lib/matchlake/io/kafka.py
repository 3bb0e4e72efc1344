"""The Kafka broker: whether it answers, and whether it has a topic."""

import logging
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from kafka import KafkaAdminClient
from kafka.errors import KafkaError

from matchlake.errors import ConfigError, SourceError
from matchlake.io.brokers import Broker

# The client warns of every step that is slow on a busy machine; what fails, it raises.
logging.getLogger("kafka").setLevel(logging.ERROR)

_NAMED = 12


def require_topic(broker: Broker, topic: str, patience: float) -> int:
    """The topic's number of partitions.

    Raises:
        SourceError: no broker answers within `patience` seconds, it refuses our login, or it has
            no such topic.
    """
    with connect_admin(broker, patience) as admin:
        there = sorted(name for name in admin.list_topics() if not name.startswith("__"))
        if topic in there:
            return len(admin.describe_topics([topic])[0]["partitions"])
    listed = ", ".join(there[:_NAMED]) + (", ..." if len(there) > _NAMED else "")
    raise SourceError(
        f"No topic {topic} at {broker.address} (there is: {listed or 'none'}). Create it, or name "
        "another one in the stream's `topic`."
    )


@contextmanager
def connect_admin(broker: Broker, patience: float) -> Iterator[KafkaAdminClient]:
    """A client for topics and offsets; raises SourceError, with the cause, where it has no luck."""
    _require_answer(broker.address, patience)
    with _heard() as causes:
        try:
            with KafkaAdminClient(
                **broker.client_options(), bootstrap_timeout_ms=int(patience * 1000)
            ) as admin:
                yield admin
        except (OSError, KafkaError) as error:
            raise SourceError(_refusal(broker, causes, error)) from error


def _refusal(broker: Broker, causes: list[str], error: Exception) -> str:
    heard = " ".join(causes)
    token = next((cause for cause in causes if "No token for client" in cause), None)
    if token:
        return f"The broker at {broker} cannot be logged in to: {token}"
    if "CERTIFICATE_VERIFY_FAILED" in heard:
        return (
            f"The certificate of the broker at {broker} is not trusted: name its authorities' PEM "
            "file in kafka.tls.ca."
        )
    # A broker says that a login is wrong and hangs up at once, often before that was heard.
    refused = broker.login is not None and "socket disconnected" in heard
    if refused or "SaslAuthenticationFailedError" in heard:
        return (
            f"The broker at {broker} refuses this login: check kafka.login, that the secret holds "
            "the user's present password, and kafka.tls."
        )
    return (
        f"The broker at {broker} does not answer as Kafka: {error}. Check kafka.tls and "
        "kafka.login: a broker that wants either hangs up on who comes without."
    )


@contextmanager
def _heard() -> Iterator[list[str]]:
    """What the client logs of failures: its own error says only that it waited in vain."""
    log, handler = logging.getLogger("kafka"), _Listener()
    log.addHandler(handler)
    propagated, log.propagate = log.propagate, False
    try:
        yield handler.causes
    finally:
        log.propagate = propagated
        log.removeHandler(handler)


class _Listener(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.causes: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.causes.append(record.getMessage())


def _require_answer(address: str, patience: float) -> None:
    """Fails fast where nothing listens: Kafka's clients would try for minutes, and log each try."""
    problems = []
    for server in address.split(","):
        host, _, port = server.strip().rpartition(":")
        if not host or not port.isdigit():
            raise ConfigError(f"{server!r} is no broker's address: it has to be host:port.")
        try:
            with socket.create_connection((host, int(port)), timeout=patience):
                return
        except OSError as error:
            problems.append(f"{server.strip()}: {error.strerror or error}")
    raise SourceError(
        f"No broker answers ({'; '.join(problems)}). Start it, the sandbox's with `matchlake "
        "sandbox start`, or correct kafka.bootstrap_servers."
    )
