"""Publishes a known sequence of events exactly once, also after an interrupted run.

The topic shows how many events an earlier run sent. The key of an event decides its partition, and
a partition keeps the order. So the records of a partition must equal its first events; the last of
them is compared.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import NamedTuple

from kafka import KafkaProducer
from kafka.errors import KafkaError
from kafka.partitioner.default import murmur2

from matchlake.dev.sandbox.topics import (
    Event,
    client_options,
    create_topic,
    end_offsets,
    read_record,
)
from matchlake.errors import SandboxError
from matchlake.io.brokers import Broker

_PROGRESS_EVERY = 1_000
_TIMEOUT_MS = 30_000


class Published(NamedTuple):
    """What `publish_events` did."""

    sent: int
    """Events sent now."""
    found: int
    """Events that the topic held already."""


def partition_of(event: Event, partitions: int) -> int:
    """The partition of `event`: a hash of its key, as in Kafka's clients, or of its value."""
    basis = event.key if event.key is not None else event.value or b""
    return _hash(basis) % partitions


@lru_cache(maxsize=100_000)
def _hash(basis: bytes) -> int:
    """The hash of Kafka's clients. Most events of a sample have the key of an earlier one."""
    return int(murmur2(basis) & 0x7FFFFFFF)


def publish_events(
    bootstrap: Broker | str,
    topic: str,
    events: Iterable[Event],
    *,
    partitions: int,
    progress: Callable[[int], None] | None = None,
) -> Published:
    """Sends the `events` that `topic` does not hold yet.

    Later records of other programs are allowed. `progress` is called from time to time with the
    number of events in the topic.

    Raises:
        SandboxError: no broker answers, it refuses records, the topic has another number of
            partitions, or its records are not the first of `events`. Events sent before the
            error stay in the topic.
    """
    create_topic(bootstrap, topic, partitions)
    run = _Run(bootstrap, topic, end_offsets(bootstrap, topic))
    with _producer(bootstrap, topic) as producer:
        for number, event in enumerate(events, 1):
            run.take(producer, event)
            if progress is not None and number % _PROGRESS_EVERY == 0:
                progress(number)
        producer.flush(timeout=_TIMEOUT_MS / 1000)
        run.check_end()
    return Published(run.sent, run.found)


@contextmanager
def _producer(bootstrap: Broker | str, topic: str) -> Iterator[KafkaProducer]:
    try:
        producer = KafkaProducer(
            **client_options(bootstrap),
            linger_ms=20,
            batch_size=2**17,
            max_block_ms=_TIMEOUT_MS,
            delivery_timeout_ms=_TIMEOUT_MS,
            request_timeout_ms=_TIMEOUT_MS // 2,
        )
        try:
            yield producer
        except BaseException:
            # Without this, close() waits for a broker that may be gone, and a thread stays alive.
            producer._sender.force_close()  # noqa: SLF001 - there is no public way
            raise
        finally:
            producer.close()
    except KafkaError as error:
        text = f"Topic {topic} at {bootstrap} does not accept records: {error}"
        raise SandboxError(text) from error


class _Run:
    def __init__(self, bootstrap: Broker | str, topic: str, ends: Sequence[int]) -> None:
        self._bootstrap = bootstrap
        self._topic = topic
        self._ends = ends
        self._places = [0] * len(ends)
        self._last: dict[int, Event] = {}
        self._failure: BaseException | None = None
        self.sent = 0
        self.found = 0

    def take(self, producer: KafkaProducer, event: Event) -> None:
        partition = partition_of(event, len(self._ends))
        index = self._places[partition]
        self._places[partition] += 1
        if index >= self._ends[partition]:
            self._send(producer, event, partition)
            return
        self.found += 1
        self._last[partition] = event
        if index == self._ends[partition] - 1:
            self._compare(partition, index, event)

    def check_end(self) -> None:
        """Checks that the broker took all events, and that they come first in the topic."""
        self._check_failure()
        for partition, event in self._last.items():
            if self._places[partition] < self._ends[partition]:
                self._compare(partition, self._places[partition] - 1, event)

    def _send(self, producer: KafkaProducer, event: Event, partition: int) -> None:
        self._check_failure()
        future = producer.send(self._topic, event.value, event.key, partition=partition)
        future.add_errback(self._note_failure)
        self.sent += 1

    def _note_failure(self, failure: BaseException) -> None:
        self._failure = self._failure or failure

    def _check_failure(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _compare(self, partition: int, offset: int, event: Event) -> None:
        if read_record(self._bootstrap, self._topic, partition, offset) != event:
            raise SandboxError(
                f"Topic {self._topic} holds other records than those to be published (partition "
                f"{partition}, offset {offset}): use another topic, or remove the sandbox's data "
                "(`make clean`)."
            )
