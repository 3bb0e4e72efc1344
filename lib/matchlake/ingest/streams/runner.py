"""Runs declared streams: from a topic into its bronze table, each record exactly once."""

import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from py4j.protocol import Py4JError
from pydantic import Field, field_validator
from pyspark.errors import PySparkException, StreamingQueryException
from pyspark.sql.streaming.query import StreamingQuery

import matchlake.errors
from matchlake.errors import (
    ConfigError,
    IdentityError,
    MatchlakeError,
    SourceError,
    TableError,
    UnreachableError,
)
from matchlake.ingest.params import StreamParams
from matchlake.ingest.parse.messages import MESSAGE
from matchlake.ingest.streams.audit import Ledger
from matchlake.ingest.streams.batch_writer import BatchWriter
from matchlake.ingest.streams.checkpoint import Checkpoint
from matchlake.ingest.streams.consistency import Identity, Standing
from matchlake.ingest.streams.entries import Counts
from matchlake.ingest.streams.gaps import AskBroker, require_held
from matchlake.ingest.streams.recovery import Beginning, Recovery, beginning_of
from matchlake.ingest.streams.source import read_messages
from matchlake.ingest.tables import stream_table, stream_views
from matchlake.io.brokers import Broker
from matchlake.io.delta import Lakehouse
from matchlake.io.delta_properties import set_properties
from matchlake.io.kafka import Client, TopicState, topic_state
from matchlake.params import Params
from matchlake.schemas import TableName

_log = logging.getLogger(__name__)

AVAILABLE_NOW = "available_now"
_AUTO_COMPACT = "delta.autoOptimize.autoCompact"
_OTHER_RUN = (
    "ConcurrentTransaction",
    "CONCURRENT_TRANSACTION",
    "CONCURRENT_STREAM_LOG_UPDATE",
    "CONCURRENT_QUERY",
    "Multiple streaming queries are concurrently using",
    "another active query with same",
    "already active",
)


class IngestParams(Params):
    """Which streams `ingest_events` reads, and when it stops."""

    streams: tuple[str, ...] | None = None
    """Names of declared streams; null: all of them."""
    trigger: str = AVAILABLE_NOW
    """`available_now`: what is there, then end; `10 seconds`: a batch that often, until stopped."""
    reconcile_seconds: float = Field(60, gt=0)
    """How often a stream that does not end is accounted for."""
    prove: bool = False
    """Whether the whole table is proved at the end of a run, as `matchlake reconcile` does."""

    ledger: TableName = "bronze.ingest_batches"
    """The table of what each batch read, and what became of it."""
    adopt: tuple[str, ...] = ()
    """Streams that go on after what they read last, accepting what is missing."""
    rewind_to: dict[str, int] = Field(default_factory=dict)
    """Streams that read again from a batch on."""
    new_identity: tuple[str, ...] = ()
    """Streams that begin at their topic's first record, as if new."""

    @field_validator("trigger")
    @classmethod
    def _known_trigger(cls, trigger: str) -> str:
        if trigger != AVAILABLE_NOW and not re.fullmatch(r"\d+ (milli)?seconds?", trigger):
            raise ValueError(f"trigger is {AVAILABLE_NOW} or an interval such as `10 seconds`")
        return trigger


def chosen_streams(
    streams: Mapping[str, StreamParams], params: IngestParams
) -> dict[str, StreamParams]:
    """The declared streams that are to be read; raises ConfigError for one that is not declared."""
    names = list(streams) if params.streams is None else params.streams
    unknown = [name for name in names if name not in streams]
    if unknown or not names:
        raise ConfigError(
            f"No stream {', '.join(unknown) or 'to read'}: declared below `streams` is "
            f"{', '.join(streams) or 'none'}."
        )
    return {name: streams[name] for name in names}


@dataclass(frozen=True)
class Ingest:
    """One stream under way from `broker` into its table."""

    name: str
    stream: StreamParams
    lakehouse: Lakehouse
    checkpoint: Checkpoint
    ledger: Ledger
    broker: Broker = field(repr=False)

    def prepare(self, params: IngestParams) -> "Prepared":
        """Creates tables and views where they are missing, and finds out where to begin.

        Raises:
            TableError: a table is there in another shape than declared.
            IdentityError: checkpoint, table and topic do not belong together.
            SourceError: Kafka no longer holds what is to be read next, or again.
        """
        add = self.stream.new_columns == "add"
        self.lakehouse.create(stream_table(self.stream), add_columns=add)
        if self.stream.auto_compact:
            set_properties(self.lakehouse, self.stream.table, {_AUTO_COMPACT: "true"})
        for view in stream_views(self.stream):
            self.lakehouse.create_view(view)
        self.ledger.prepare()
        topic = topic_state(self.client, self.stream.topic)
        identity = Identity(self.name, self.stream.table, self.checkpoint, self.lakehouse)
        recovery = Recovery(identity, self.ledger, identity.look())
        beginning = self._beginning(recovery, params, topic)
        if beginning:
            return self._begin(recovery, beginning, params)
        standing = recovery.standing
        identity.require(standing, topic)
        if standing.last and standing.is_begun:
            beginning = beginning_of(standing.last, topic)
            recovery.finish(beginning)
        self._require_held(beginning, standing.checkpoint, topic)
        return self._prepared(recovery, topic, beginning)

    @cached_property
    def client(self) -> Client:
        """How kafka-python connects; the login is resolved once, as that of the query is."""
        return self.broker.client_options()

    def told(self, topic: TopicState, standing: Standing) -> dict[str, Any]:
        """What each commit says of the stream."""
        return {
            "stream": self.name,
            "topic": self.stream.topic,
            "topic_id": topic.id,
            "table_id": standing.table_id,
            "generation": standing.checkpoint.generation,
            "judged": standing.version,
        }

    def _begin(self, recovery: Recovery, beginning: Beginning, params: IngestParams) -> "Prepared":
        """Takes a way out: where it begins is found out anew once no other run can write."""
        topic = topic_state(self.client, self.stream.topic)
        told = self.told(topic, recovery.standing)
        fenced = replace(recovery, standing=recovery.fence(beginning.way, told))
        now = fenced.carried(self._beginning(fenced, params, topic) or beginning)
        begun = replace(fenced, standing=fenced.begin(now, told))
        begun.finish(now)
        return self._prepared(begun, topic, now)

    def _prepared(
        self, recovery: Recovery, topic: TopicState, beginning: Beginning | None
    ) -> "Prepared":
        standing = recovery.standing
        at = replace(self, checkpoint=standing.checkpoint)
        return Prepared(at, topic, standing, recovery, beginning)

    def _require_held(
        self, beginning: Beginning | None, checkpoint: Checkpoint, topic: TopicState
    ) -> None:
        if self.stream.on_data_loss == "fail":
            begin = beginning.offsets if beginning else checkpoint.committed()
            require_held(self.name, self.stream.topic, begin or {}, topic.earliest)

    def _beginning(
        self, recovery: Recovery, params: IngestParams, topic: TopicState
    ) -> Beginning | None:
        """The way out that is to be taken, once nothing is found that forbids it."""
        found = self._way_out(recovery, params, topic)
        if found:
            self._require_held(found, self.checkpoint, topic)
        return found

    def _way_out(
        self, recovery: Recovery, params: IngestParams, topic: TopicState
    ) -> Beginning | None:
        if self.name in params.adopt:
            return recovery.adopt(topic)
        if self.name in params.rewind_to:
            return recovery.rewind_to(params.rewind_to[self.name], topic)
        if self.name in params.new_identity:
            return recovery.new_identity(topic)
        return None


@dataclass(frozen=True)
class Prepared:
    """A stream whose checkpoint, table and topic belong together, or that begins anew."""

    ingest: Ingest
    topic: TopicState
    standing: Standing
    recovery: Recovery
    beginning: Beginning | None

    @property
    def name(self) -> str:
        """The stream's name."""
        return self.ingest.name

    @property
    def stream(self) -> StreamParams:
        """What conf declares of it."""
        return self.ingest.stream

    def start(self, trigger: str) -> StreamingQuery:
        """Starts the query that appends every message, good or bad, in one commit a batch."""
        ingest, begin = self.ingest, self.beginning
        messages = read_messages(
            ingest.lakehouse.spark, ingest.broker, self.stream, begin.offsets if begin else None
        )
        writer = (
            messages.select(*MESSAGE)
            .writeStream.foreachBatch(self.writer())
            .queryName(self.name)
            .option("checkpointLocation", ingest.checkpoint.path)
        )
        every = {"availableNow": True} if trigger == AVAILABLE_NOW else {"processingTime": trigger}
        try:
            return writer.trigger(**every).start()
        except (PySparkException, Py4JError) as error:
            raise _explained(self.name, self.stream, error) from error

    def writer(self) -> BatchWriter:
        """What writes each batch."""
        return BatchWriter(
            self.ingest.lakehouse.name(self.stream.table),
            self.stream,
            self.ingest.checkpoint.folder,
            self.ingest.checkpoint.generation,
            self.ingest.told(self.topic, self.standing),
            self.standing.version,
            self.standing.checkpoint_id,
            self.standing.done + 1,
        )

    def ended(self, query: StreamingQuery, seconds: float) -> bool:
        """Waits until the query has ended or the time is over; raises what made it fail."""
        try:
            return bool(query.awaitTermination(timeout=seconds))  # type: ignore[arg-type]
        except StreamingQueryException as error:
            raise _explained(self.name, self.stream, error) from error

    def account(self, *, prove: bool = False) -> Counts:
        """Enters what was committed since in the ledger, each offset accounted for.

        With `prove` it reconciles all that the ledger has besides.

        Raises:
            ReconciliationError: the table does not hold every offset exactly once.
            IdentityError: this is a stale run: a way out was taken since it began.
        """
        ledger, explain = self.ingest.ledger, AskBroker(self.ingest.client, self.stream.topic)
        try:
            return ledger.prove(explain).entered if prove else ledger.update(explain)
        finally:
            self.writer().require_not_fenced(self.ingest.lakehouse.spark)

    def require_same_topic(self) -> None:
        """Raises IdentityError where the topic was made anew while it was read.

        While the broker is away nobody can say: then it is told, and the next turn looks again.
        """
        try:
            now = topic_state(self.ingest.client, self.stream.topic)
        except UnreachableError as error:
            _tell_later(self.name, error)
            return
        if now.id != self.topic.id:
            raise IdentityError(
                f"{self.name}: topic {self.stream.topic} was deleted and made anew while it was "
                f"read: its id was {self.topic.id}, and is {now.id}. Run the job again for the "
                "ways out."
            )


def follow(streams: Sequence[Prepared], params: IngestParams) -> Iterator[tuple[Prepared, Counts]]:
    """Runs streams side by side; yields what each has read, once that is in the ledger.

    That is every `params.reconcile_seconds` and at a stream's end. When one fails, or the caller
    turns away, the others are stopped.

    Raises:
        SourceError: Kafka no longer holds what was to be read.
        ReconciliationError: a table does not hold every offset exactly once.
        IdentityError: a table or a topic was changed under its stream.
    """
    with ExitStack() as stack:
        queries = {each.name: each.start(params.trigger) for each in streams}
        for query in queries.values():
            stack.callback(query.stop)
        waiting = list(streams)
        while waiting:
            for each in tuple(waiting):
                turn = params.reconcile_seconds / len(waiting)
                ended = each.ended(queries[each.name], turn)
                try:
                    counts = each.account(prove=ended and params.prove)
                except UnreachableError as error:
                    if ended:
                        raise
                    _tell_later(each.name, error)
                    continue
                if ended:
                    waiting.remove(each)
                else:
                    each.require_same_topic()
                if ended or counts.offsets:
                    yield each, counts


def _tell_later(name: str, error: UnreachableError) -> None:
    _log.warning("%s: the broker does not answer, and is asked again: %s", name, error)


def _explained(name: str, stream: StreamParams, error: Exception) -> Exception:
    """What is behind a failed query, as an error of our own; else the error itself."""
    text = str(error)
    own = re.search(r"matchlake\.errors\.(\w+): (.*)", text)
    kind = getattr(matchlake.errors, own[1], None) if own else None
    if own and isinstance(kind, type) and issubclass(kind, MatchlakeError):
        return kind(own[2].replace("\\n", " "))
    if "KAFKA_DATA_LOSS" in text or "data may have been lost" in text:
        return SourceError(
            f"{name}: Kafka no longer holds all that is to be read of topic {stream.topic}. What "
            "was read before is in the table. To go on after it, and to have it in the ledger as a "
            f"gap: --set streams.{name}.on_data_loss=record"
        )
    full = re.search(r"No space left on device|File too large|Disk quota exceeded", text)
    if full:
        return TableError(
            f"{name}: {stream.table} cannot be written: {full[0]}. The batch is not in it; the "
            "next run reads it again, once there is room."
        )
    if any(told in text for told in _OTHER_RUN):
        return IdentityError(
            f"{name}: another run of this stream is under way with the same checkpoint. Let one of "
            "them end; nothing was written twice."
        )
    return error
