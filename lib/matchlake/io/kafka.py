"""The Kafka broker: whether it answers, and the partitions, id and offsets of its topics."""

import logging
import socket
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from typing import Any, NamedTuple

from kafka import KafkaAdminClient, KafkaConsumer, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType
from kafka.errors import BrokerResponseError, KafkaError
from kafka.protocol.consumer import OffsetSpec

from matchlake.errors import ConfigError, SourceError, UnreachableError
from matchlake.io.brokers import Broker

# On a busy machine the client logs a warning for every slow step. It raises failures as errors.
logging.getLogger("kafka").setLevel(logging.ERROR)

_NAMED = 12
_TIMEOUT_MS = 10_000
TABLE_MILLIS = (2**63 - 1) // 1000
"""The greatest timestamp that a table can hold, in milliseconds: tables keep microseconds."""

Offsets = dict[int, int]
"""One offset per partition, such as the offset after the last one read."""
Client = Mapping[str, Any]
"""The options of kafka-python's clients."""


class TopicState(NamedTuple):
    """A topic at one moment."""

    id: str | None
    """The topic's id, new each time the topic is created; None if the broker has no ids."""
    earliest: Offsets
    """The first available offset, by partition."""
    latest: Offsets
    """The offset of the next record, by partition."""


class RecordMark(NamedTuple):
    """The properties that distinguish a record from another one at the same offset."""

    timestamp: int | None
    """Milliseconds since 1970, as Kafka keeps it; -1 without a time; None if no table holds it."""
    size: int | None
    """The number of bytes of the value; None without a value."""


def topic_state(client: Client, topic: str) -> TopicState:
    """The topic's state; raises UnreachableError or, if the broker answers, SourceError."""
    with (
        explained_errors(topic),
        KafkaAdminClient(**client, bootstrap_timeout_ms=_TIMEOUT_MS) as admin,
    ):
        metadata = admin.describe_topics([topic])[0]
        partitions = [TopicPartition(topic, i) for i in range(len(metadata["partitions"]))]
        earliest, latest = (
            admin.list_partition_offsets(dict.fromkeys(partitions, spec))
            for spec in (OffsetSpec.EARLIEST, OffsetSpec.LATEST)
        )
    topic_id = str(metadata.get("topic_id") or "")
    return TopicState(
        topic_id if topic_id.strip("0-") else None,
        {each.partition: earliest[each].offset for each in partitions},
        {each.partition: latest[each].offset for each in partitions},
    )


def is_compacted(client: Client, topic: str) -> bool:
    """Whether the topic is compacted: it keeps only the last record of each key."""
    with (
        explained_errors(topic),
        KafkaAdminClient(**client, bootstrap_timeout_ms=_TIMEOUT_MS) as admin,
    ):
        resources = [ConfigResource(ConfigResourceType.TOPIC, topic)]
        configs = admin.describe_configs(resources, config_filter="all")
    settings = next(iter(next(iter(configs.values())).values()))
    if not settings:
        raise SourceError(f"Topic {topic}: the broker does not show whether it is compacted.")
    return "compact" in str(settings["cleanup.policy"]["value"])


def held_from(
    client: Client, topic: str, partition: int, ranges: Iterable[tuple[int, int]]
) -> dict[int, int]:
    """Maps the first offset of each range to the offset of the next record that the broker holds.

    If the range holds a record, this is the first record in the range. If it holds none, the value
    is the end of the range, or a later offset.
    """
    partition_ = TopicPartition(topic, partition)
    result = {}
    with explained_errors(topic), closing(_one_by_one(client)) as consumer:
        consumer.assign([partition_])
        for first, end in ranges:
            consumer.seek(partition_, first)
            deadline = time.monotonic() + _TIMEOUT_MS / 1000
            result[first] = first
            while result[first] < end and time.monotonic() < deadline:
                records = consumer.poll(timeout_ms=200).get(partition_)
                result[first] = records[0].offset if records else consumer.position(partition_)
                if records:
                    break
    return result


def records_at(client: Client, topic: str, offsets: Mapping[int, int]) -> dict[int, RecordMark]:
    """The record at an offset of each partition; a partition without that record is left out."""
    targets = {TopicPartition(topic, part): at for part, at in offsets.items()}
    result: dict[int, RecordMark] = {}
    with explained_errors(topic), closing(_one_by_one(client)) as consumer:
        consumer.assign(list(targets))
        for partition, at in targets.items():
            consumer.seek(partition, at)
        deadline = time.monotonic() + _TIMEOUT_MS / 1000
        waiting = set(targets)
        while waiting and time.monotonic() < deadline:
            for partition, records in consumer.poll(timeout_ms=200).items():
                if records[0].offset == targets[partition]:
                    result[partition.partition] = _mark(records[0])
            done = {each for each in waiting if consumer.position(each) > targets[each]}
            waiting -= done
            consumer.pause(*done)
    return result


def _mark(record: Any) -> RecordMark:
    size = None if record.value is None else len(record.value)
    at = -1 if record.timestamp is None else record.timestamp
    return RecordMark(at if abs(at) <= TABLE_MILLIS else None, size)


def _one_by_one(client: Client) -> KafkaConsumer:
    """A consumer of committed records that returns one record per poll."""
    return KafkaConsumer(
        **client,
        enable_auto_commit=False,
        auto_offset_reset="none",
        isolation_level="read_committed",
        max_poll_records=1,
    )


def _admin(client: Client) -> KafkaAdminClient:
    return KafkaAdminClient(**client, bootstrap_timeout_ms=_TIMEOUT_MS)


@contextmanager
def explained_errors(topic: str) -> Iterator[None]:
    """Raises UnreachableError if the broker does not answer, SourceError if it refuses."""
    try:
        yield
    except BrokerResponseError as error:
        raise SourceError(f"Topic {topic} cannot be described: {error}") from error
    except (OSError, KafkaError) as error:
        raise UnreachableError(f"Topic {topic} cannot be described: {error}") from error


def require_topic(broker: Broker, topic: str, timeout_seconds: float) -> int:
    """The topic's number of partitions.

    Raises:
        SourceError: the broker does not answer within `timeout_seconds`, refuses the login, or
            lacks the topic.
    """
    with connect_admin(broker, timeout_seconds) as admin:
        topics = sorted(name for name in admin.list_topics() if not name.startswith("__"))
        if topic in topics:
            return len(admin.describe_topics([topic])[0]["partitions"])
    listed = ", ".join(topics[:_NAMED]) + (", ..." if len(topics) > _NAMED else "")
    raise SourceError(
        f"No topic {topic} at {broker.address}. Its topics: {listed or 'none'}. Create the topic, "
        "or name another one in the stream's `topic`."
    )


@contextmanager
def connect_admin(broker: Broker, timeout_seconds: float) -> Iterator[KafkaAdminClient]:
    """A client for topics; raises SourceError if it cannot connect."""
    _require_answer(broker.address, timeout_seconds)
    with _logged_causes() as causes:
        try:
            with KafkaAdminClient(
                **broker.client_options(), bootstrap_timeout_ms=int(timeout_seconds * 1000)
            ) as admin:
                yield admin
        except (OSError, KafkaError) as error:
            raise SourceError(_refusal(broker, causes, error)) from error


def _refusal(broker: Broker, causes: list[str], error: Exception) -> str:
    text = " ".join(causes)
    token = next((cause for cause in causes if "No token for client" in cause), None)
    if token:
        return f"The login at the broker {broker} failed: {token}"
    if "CERTIFICATE_VERIFY_FAILED" in text:
        return (
            f"The certificate of the broker at {broker} is not trusted: set kafka.ssl.ca_file to "
            "the PEM file of its authorities."
        )
    # A broker reports a wrong login and closes the connection, often before the report is read.
    refused = broker.sasl is not None and "socket disconnected" in text
    if refused or "SaslAuthenticationFailedError" in text:
        return (
            f"The broker at {broker} refuses this login: check kafka.sasl and kafka.ssl, and that "
            "the secret holds the user's current password."
        )
    return (
        f"The broker at {broker} does not answer as Kafka: {error}. Check kafka.ssl and "
        "kafka.sasl: a broker that needs one of them closes a connection without it."
    )


@contextmanager
def _logged_causes() -> Iterator[list[str]]:
    """Collects the failures that the client logs: its own error only reports a timeout."""
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


def _require_answer(address: str, timeout_seconds: float) -> None:
    """Fails fast if no broker listens: Kafka's clients would retry for minutes and log each try."""
    problems = []
    for server in address.split(","):
        host, _, port = server.strip().rpartition(":")
        if not host or not port.isdigit():
            raise ConfigError(f"{server!r} is not the address of a broker: it must be host:port.")
        try:
            with socket.create_connection((host, int(port)), timeout=timeout_seconds):
                return
        except OSError as error:
            problems.append(f"{server.strip()}: {error.strerror or error}")
    raise SourceError(
        f"No broker answers ({'; '.join(problems)}). Start it (the sandbox's broker: `matchlake "
        "sandbox start`), or correct kafka.bootstrap_servers."
    )
