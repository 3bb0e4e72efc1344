"""What a broker says of a topic: its id, and which offsets it holds."""

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from typing import Any, NamedTuple

from kafka import KafkaAdminClient, KafkaConsumer, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType
from kafka.errors import BrokerResponseError, KafkaError
from kafka.protocol.consumer import OffsetSpec

from matchlake.errors import SourceError, UnreachableError

_PATIENCE_MS = 10_000

Offsets = dict[int, int]
"""For each partition, the offset after the last one read."""
Client = Mapping[str, Any]
"""How kafka-python connects: the options of its clients."""


class TopicState(NamedTuple):
    """A topic at one moment."""

    id: str | None
    """Another one each time the topic is made; null where the broker has no such ids."""
    earliest: Offsets
    """Of each partition the first offset that is held."""
    latest: Offsets
    """Of each partition the offset that its next record will have."""


def topic_state(client: Client, topic: str) -> TopicState:
    """Asks the broker; raises SourceError where it refuses, UnreachableError where it is away."""
    with _asked(topic), KafkaAdminClient(**client, bootstrap_timeout_ms=_PATIENCE_MS) as admin:
        told = admin.describe_topics([topic])[0]
        places = [TopicPartition(topic, number) for number in range(len(told["partitions"]))]
        earliest, latest = (
            admin.list_partition_offsets(dict.fromkeys(places, spec))
            for spec in (OffsetSpec.EARLIEST, OffsetSpec.LATEST)
        )
    known = str(told.get("topic_id") or "")
    return TopicState(
        known if known.strip("0-") else None,
        {place.partition: earliest[place].offset for place in places},
        {place.partition: latest[place].offset for place in places},
    )


def is_compacted(client: Client, topic: str) -> bool:
    """Whether the topic's clean-up keeps the last record of each key only."""
    with _asked(topic), KafkaAdminClient(**client, bootstrap_timeout_ms=_PATIENCE_MS) as admin:
        asked = [ConfigResource(ConfigResourceType.TOPIC, topic)]
        found = admin.describe_configs(asked, config_filter="all")
    settings = next(iter(next(iter(found.values())).values()))
    if not settings:
        raise SourceError(f"Topic {topic}: the broker does not show whether it is compacted.")
    return "compact" in str(settings["cleanup.policy"]["value"])


def held_from(
    client: Client, topic: str, partition: int, ranges: Iterable[tuple[int, int]]
) -> dict[int, int]:
    """For each range, by its first offset, up to where the broker has no record.

    That is the next record's offset, or the range's end or more where none came before it.
    """
    place = TopicPartition(topic, partition)
    found = {}
    with (
        _asked(topic),
        closing(
            KafkaConsumer(
                **client,
                enable_auto_commit=False,
                auto_offset_reset="none",
                isolation_level="read_committed",
                max_poll_records=1,
            )
        ) as consumer,
    ):
        consumer.assign([place])
        for first, end in ranges:
            consumer.seek(place, first)
            patience = time.monotonic() + _PATIENCE_MS / 1000
            found[first] = first
            while found[first] < end and time.monotonic() < patience:
                records = consumer.poll(timeout_ms=200).get(place)
                found[first] = records[0].offset if records else consumer.position(place)
                if records:
                    break
    return found


@contextmanager
def _asked(topic: str) -> Iterator[None]:
    """Raises UnreachableError where the broker does not answer, SourceError where it refuses."""
    try:
        yield
    except BrokerResponseError as error:
        raise SourceError(f"Topic {topic} cannot be described: {error}") from error
    except (OSError, KafkaError) as error:
        raise UnreachableError(f"Topic {topic} cannot be described: {error}") from error
