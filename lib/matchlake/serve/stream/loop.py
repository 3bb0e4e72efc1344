"""The loop of `serve-stream`: reads events, and writes lists and histories in Kafka transactions.

A transaction contains the lists, the histories and the offsets of its events. After a crash, the
next process reads the histories, and continues at the last committed offsets. So a consumer with
`read_committed` sees the list of each event once.
"""

import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import pyarrow as pa
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.errors import KafkaError, MessageSizeTooLargeError, ProducerFencedError
from kafka.structs import OffsetAndMetadata

from matchlake.errors import InputError, SourceError
from matchlake.ingest.params import StreamParams
from matchlake.ingest.streams.stream_reader import StreamReader
from matchlake.io.kafka import Client, is_compacted, topic_state
from matchlake.serve.stream.live_lists import LiveLists, NewList, checked_value
from matchlake.serve.stream.params import ServeStreamParams

_log = logging.getLogger(__name__)

_POLL_MS = 200
_SETTLE_SECONDS = 60.0
_LARGEST_RECORD = 100_000_000
"""The maximum size of a record in bytes; the topics have their own limits."""


@dataclass
class Counts:
    """The counts of the process."""

    events: int = 0
    refused: int = 0
    """Events that do not parse, or that the model refuses."""
    erased: int = 0
    """Events of erased users."""
    transactions: int = 0


@dataclass
class StreamLoop:
    """Reads one stream; `stopped` ends it after the current transaction."""

    params: ServeStreamParams
    stream: StreamParams
    lists: LiveLists
    client: Client = field(repr=False)
    stopped: Callable[[], bool] = lambda: False
    between: Callable[["StreamLoop"], None] = lambda _: None
    """Called between two transactions, to check for a new model or newly erased users."""
    counts: Counts = field(default_factory=Counts)
    _forgotten: set[str] = field(default_factory=set, repr=False)

    def run(self) -> Counts:
        """Runs until `stopped`.

        Raises:
            SourceError: a topic is missing, the histories' topic is not compacted, or another
                process has taken over.
        """
        self._require_compacted()
        producer = self._producer()
        try:
            # Aborts the open transaction of an earlier producer with this transactional id, and
            # fences it.
            producer.init_transactions()
            self._restore()
            positions = self._positions()
            producer.begin_transaction()
            # if the process is killed now, the next process starts here
            self._commit(producer, positions)
            consumer = self._consumer(positions)
            try:
                while not self.stopped():
                    self.between(self)
                    found = consumer.poll(timeout_ms=_POLL_MS, max_records=self.params.max_batch)
                    if found or self._forgotten:
                        self._transact(producer, found)
            finally:
                consumer.close()
        except ProducerFencedError:
            raise SourceError(
                f"Another process with the group {self.params.group} started and fenced this "
                "producer. Run one process per group."
            ) from None
        except MessageSizeTooLargeError as error:
            raise SourceError(
                f"A record is too large for the broker: {error}. Lower serve_stream.max_history, "
                "or raise max.message.bytes of the topics."
            ) from None
        except KafkaError as error:
            raise SourceError(f"The broker fails: {error}. Start the process again.") from error
        finally:
            with suppress(KafkaError):
                producer.close(timeout=5)
            self.lists.histories.close()
        return self.counts

    def forget(self, users: Sequence[str]) -> None:
        """Deletes histories and lists of users; the next transaction writes the tombstones."""
        self._forgotten.update(users)

    def _transact(self, producer: Any, found: Mapping[TopicPartition, Sequence[Any]]) -> None:
        producer.begin_transaction()
        for user in self._forgotten:
            self._delete(producer, user)
        self._forgotten = set()
        for records in found.values():
            for record, fields, error in self._read(records):
                self._one(producer, record, fields, error)
        self._commit(producer, {each: records[-1].offset + 1 for each, records in found.items()})
        self.counts.transactions += 1

    def _commit(self, producer: Any, positions: Mapping[TopicPartition, int]) -> None:
        """Commits the transaction, with the offsets to continue at."""
        offsets = {each: OffsetAndMetadata(at, "", -1) for each, at in positions.items()}
        producer.send_offsets_to_transaction(offsets, self.params.group)
        producer.commit_transaction()

    def _read(self, records: Sequence[Any]) -> list[tuple[Any, dict[str, Any], str | None]]:
        values = pa.array([record.value for record in records], pa.binary())
        if self.stream.format_entry.decoder is None:
            ended = [None if r.value is None else r.value + b"\n" for r in records]
            values = pa.array(ended, pa.binary())
        columns = self._reader.read(values)
        codes, messages = columns["_error_code"].to_pylist(), columns["_error_message"].to_pylist()
        wanted = [self.params.user_id, self.params.item_id, *filter(None, [self.params.value])]
        lists = [columns[name].to_pylist() for name in wanted]
        return [
            (record, dict(zip(wanted, row, strict=True)), code and f"{code}: {message}")
            for record, code, message, *row in zip(records, codes, messages, *lists, strict=True)
        ]

    def _one(
        self, producer: Any, record: Any, fields: Mapping[str, Any], error: str | None
    ) -> None:
        self.counts.events += 1
        user, item = fields[self.params.user_id], fields[self.params.item_id]
        if error is None and (user is None or item is None):
            error = "null_field: an event needs a user and an item"
        if user is not None and str(user) in self.lists.erased:
            self.counts.erased += 1
            self._delete(producer, str(user))
            return
        if error is not None:
            self._refuse(producer, record, error)
            return
        value = fields[self.params.value] if self.params.value else 1.0
        try:
            new = self.lists.apply(str(user), str(item), checked_value(value, "the value"))
        except InputError as refused:
            self._refuse(producer, record, str(refused))
            return
        key = new.user.encode()
        producer.send(self.params.topic, list_record(new, record), key)
        producer.send(self.params.changelog_topic, json.dumps(new.history).encode(), key)

    def _refuse(self, producer: Any, record: Any, reason: str) -> None:
        self.counts.refused += 1
        if self.params.dead_letter_topic is None:
            return
        where = {"source_topic": record.topic, "source_partition": record.partition}
        told = {**where, "source_offset": record.offset, "refusal": reason}
        headers = [(name, str(each).encode()) for name, each in told.items()]
        producer.send(self.params.dead_letter_topic, record.value, record.key, headers=headers)

    def _delete(self, producer: Any, user: str) -> None:
        self.lists.forget(user)
        for topic in (self.params.changelog_topic, self.params.topic):
            producer.send(topic, None, user.encode())

    @cached_property
    def _reader(self) -> StreamReader:
        return StreamReader(self.stream)

    def _require_compacted(self) -> None:
        topic = self.params.changelog_topic
        if not is_compacted(self.client, topic):
            raise SourceError(
                f"Topic {topic} is not compacted, so histories would be lost. Set its "
                "cleanup.policy to compact."
            )

    def _restore(self) -> None:
        """Loads the histories from the changelog, up to its end."""
        began, topic = time.monotonic(), self.params.changelog_topic
        state = topic_state(self.client, topic)
        partitions = [TopicPartition(topic, each) for each in state.latest]
        with_records = [
            p for p in partitions if state.latest[p.partition] > state.earliest[p.partition]
        ]
        consumer = self._consumer({p: state.earliest[p.partition] for p in partitions})
        quiet = time.monotonic() + _SETTLE_SECONDS
        try:
            while any(consumer.position(p) < state.latest[p.partition] for p in with_records):
                found = consumer.poll(timeout_ms=_POLL_MS, max_records=5000)
                for record in (each for records in found.values() for each in records):
                    self._restore_one(record)
                quiet = time.monotonic() + _SETTLE_SECONDS if found else quiet
                if time.monotonic() > quiet:
                    raise SourceError(
                        f"Topic {topic} could not be read to its end. Check the broker's load, "
                        "and start the process again."
                    )
        finally:
            consumer.close()
        _log.info("%d histories in %.1f s", len(self.lists.histories), time.monotonic() - began)

    def _restore_one(self, record: Any) -> None:
        if record.key is None:
            return
        user = record.key.decode(errors="replace")
        if record.value is None:
            self.lists.histories.remove(user)
            self._forgotten.discard(user)
        elif user in self.lists.erased:
            self._forgotten.add(user)  # erased while no process was running
        else:
            self.lists.histories.put_text(user, record.value.decode())

    def _positions(self) -> dict[TopicPartition, int]:
        """Returns the offsets to continue at: the committed offsets, else the end of the topic."""
        state = topic_state(self.client, self.stream.topic)
        partitions = [TopicPartition(self.stream.topic, each) for each in state.latest]
        consumer = KafkaConsumer(
            **self.client, group_id=self.params.group, enable_auto_commit=False
        )
        try:
            committed = {each: consumer.committed(each) for each in partitions}
        finally:
            consumer.close()
        return {
            each: max(at, state.earliest[each.partition])
            if at is not None and at >= 0
            else state.latest[each.partition]
            for each, at in committed.items()
        }

    def _consumer(self, positions: Mapping[TopicPartition, int]) -> Any:
        consumer = KafkaConsumer(
            **self.client,
            enable_auto_commit=False,
            isolation_level="read_committed",
            auto_offset_reset="earliest",
            fetch_max_wait_ms=5,
        )
        consumer.assign(list(positions))
        for partition, offset in positions.items():
            consumer.seek(partition, offset)
        return consumer

    def _producer(self) -> Any:
        return KafkaProducer(
            **self.client,
            transactional_id=self.params.group,
            acks="all",
            linger_ms=0,
            transaction_timeout_ms=30_000,
            max_request_size=_LARGEST_RECORD,
        )


def list_record(new: NewList, record: Any) -> bytes:
    """Returns the value of a record with a list."""
    items = [{"item_id": item, "score": score} for item, score in new.items]
    where = {"source_topic": record.topic, "source_partition": record.partition}
    where |= {"source_offset": record.offset, "source_timestamp": record.timestamp}
    answer = {"user_id": new.user, "model_version": new.model_version, "items": items}
    return json.dumps({**where, **answer}).encode()
