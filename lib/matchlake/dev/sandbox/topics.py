"""Creates, describes and counts topics of a broker."""

import socket
from typing import Any, NamedTuple

from kafka import KafkaAdminClient, KafkaConsumer, TopicPartition
from kafka.errors import KafkaError, TopicAlreadyExistsError
from kafka.protocol.consumer import OffsetSpec

from matchlake.errors import SandboxError
from matchlake.io.brokers import Broker

_TIMEOUT_MS = 10_000


class Event(NamedTuple):
    """One record of a topic; a value of None is a tombstone."""

    key: bytes | None
    value: bytes | None


def client_options(broker: Broker | str) -> dict[str, Any]:
    """Arguments of kafka-python clients for a broker, or for an address without a login."""
    return (Broker(broker) if isinstance(broker, str) else broker).client_options()


def broker_answers(broker: Broker, cluster: str) -> bool:
    """Whether `broker` answers, accepts the login, is not fenced, and belongs to `cluster`."""
    host, _, port = broker.address.rpartition(":")
    try:
        # A plain socket tests the port first, because Kafka's client logs every failed attempt.
        with socket.create_connection((host, int(port)), timeout=1):
            pass
        with KafkaAdminClient(**broker.client_options(), bootstrap_timeout_ms=2000) as admin:
            description = admin.describe_cluster()
    except (OSError, KafkaError):
        return False
    is_open = any(not broker.get("is_fenced") for broker in description["brokers"])
    return is_open and description["cluster_id"] == cluster


def create_topic(bootstrap: Broker | str, name: str, partitions: int) -> bool:
    """Creates topic `name`. Returns False if it exists with this number of partitions.

    Raises:
        SandboxError: no broker answers at `bootstrap`, the name is not legal, or the topic
            exists with another number of partitions.
    """
    with connect_admin(bootstrap) as admin:
        try:
            topics = {name: {"num_partitions": partitions}}
            answer = admin.create_topics(topics, raise_errors=False)["topics"][0]
            if answer["error_code"] == TopicAlreadyExistsError.errno:
                _check_partitions(name, admin.describe_topics([name])[0], partitions)
                return False
            if answer["error_code"]:
                raise SandboxError(f"Topic {name!r} was not made: {answer['error_message']}.")
            admin.wait_for_topics([name])
        except KafkaError as error:
            raise SandboxError(f"Topic {name!r} was not made: {error}") from error
    return True


def _check_partitions(name: str, topic: dict[str, Any], partitions: int) -> None:
    count = len(topic["partitions"])
    if count != partitions:
        raise SandboxError(
            f"Topic {name} is there with {count} partitions, not {partitions}: "
            "use it as it is, or another name."
        )


def end_offsets(bootstrap: Broker | str, topic: str) -> list[int]:
    """The offset of the next record of each partition, ordered by partition.

    Raises:
        SandboxError: no broker answers at `bootstrap`, or it has no such topic.
    """
    with connect_admin(bootstrap) as admin:
        try:
            count = len(admin.describe_topics([topic])[0]["partitions"])
            partitions = [TopicPartition(topic, number) for number in range(count)]
            offsets = admin.list_partition_offsets(dict.fromkeys(partitions, OffsetSpec.LATEST))
        except KafkaError as error:
            raise SandboxError(f"Topic {topic} at {bootstrap} cannot be read: {error}") from error
    if not count:
        raise SandboxError(f"The broker at {bootstrap} has no topic {topic}: create it first.")
    return [offsets[each].offset for each in partitions]


def read_record(bootstrap: Broker | str, topic: str, partition: int, offset: int) -> Event | None:
    """The record at `offset`; None if the topic no longer retains it."""
    topic_partition = TopicPartition(topic, partition)
    consumer = KafkaConsumer(
        **client_options(bootstrap),
        enable_auto_commit=False,
        auto_offset_reset="none",
        consumer_timeout_ms=_TIMEOUT_MS,
    )
    try:
        consumer.assign([topic_partition])
        consumer.seek(topic_partition, offset)
        record = next(consumer)
    except (StopIteration, KafkaError):
        return None
    finally:
        consumer.close()
    return Event(record.key, record.value) if record.offset == offset else None


def connect_admin(bootstrap: Broker | str) -> KafkaAdminClient:
    """An admin client for a `with` block; raises SandboxError if no broker answers."""
    try:
        return KafkaAdminClient(**client_options(bootstrap), bootstrap_timeout_ms=_TIMEOUT_MS)
    except (OSError, KafkaError) as error:
        raise SandboxError(
            f"No broker answers at {bootstrap}: start the sandbox's with `matchlake sandbox "
            "start`, or check the address."
        ) from error
