"""Runs declared streams: from a topic into its bronze table, each record exactly once."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from py4j.protocol import Py4JError
from pyspark.errors import PySparkException, StreamingQueryException
from pyspark.sql.streaming.query import StreamingQuery

from matchlake.errors import CheckpointMismatchError, ConfigError, UnreachableError
from matchlake.ingest.params import AVAILABLE_NOW, IngestParams, StreamParams
from matchlake.ingest.streams.audit import BatchLog
from matchlake.ingest.streams.batch_writer import BatchWriter
from matchlake.ingest.streams.checkpoint import Checkpoint
from matchlake.ingest.streams.consistency import ConsistencyCheck, StreamState
from matchlake.ingest.streams.entries import Counts
from matchlake.ingest.streams.erased_records import erased_records
from matchlake.ingest.streams.gaps import BrokerCauses, require_held
from matchlake.ingest.streams.messages import MESSAGE
from matchlake.ingest.streams.odd_times import KafkaPythonReader
from matchlake.ingest.streams.query_errors import explained
from matchlake.ingest.streams.recovery import Recovery, Restart, restart_of
from matchlake.ingest.streams.same_log import last_rows, other_record
from matchlake.ingest.streams.source import read_messages
from matchlake.ingest.tables import stream_table, stream_views
from matchlake.io.brokers import Broker
from matchlake.io.delta import Lakehouse
from matchlake.io.delta_properties import set_properties
from matchlake.io.kafka import Client, TopicState, topic_state

_log = logging.getLogger(__name__)

_AUTO_COMPACT = "delta.autoOptimize.autoCompact"


def chosen_streams(
    streams: Mapping[str, StreamParams], params: IngestParams
) -> dict[str, StreamParams]:
    """The declared streams to read. Raises ConfigError for an undeclared stream."""
    names = list(streams) if params.streams is None else params.streams
    unknown = [name for name in names if name not in streams]
    if unknown or not names:
        raise ConfigError(
            f"No stream {', '.join(unknown) or 'to read'}. Declared streams: "
            f"{', '.join(streams) or 'none'}."
        )
    return {name: streams[name] for name in names}


@dataclass(frozen=True)
class Ingest:
    """One declared stream from `broker` into its table."""

    name: str
    stream: StreamParams
    lakehouse: Lakehouse
    checkpoint: Checkpoint
    batch_log: BatchLog
    broker: Broker = field(repr=False)

    def prepare(self, params: IngestParams) -> "PreparedStream":
        """Creates missing tables and views, checks consistency, and finds where to begin.

        Raises:
            TableError: a table has another shape than declared.
            CheckpointMismatchError: checkpoint, table and topic do not belong together.
            SourceError: Kafka no longer retains the next offsets.
        """
        add_columns = self.stream.schema_evolution == "add_columns"
        self.lakehouse.create(stream_table(self.stream), add_columns=add_columns)
        if self.stream.auto_compact:
            set_properties(self.lakehouse, self.stream.table, {_AUTO_COMPACT: "true"})
        for view in stream_views(self.stream):
            self.lakehouse.create_view(view)
        self.batch_log.prepare()
        topic = topic_state(self.client, self.stream.topic)
        check = ConsistencyCheck(self.name, self.stream.table, self.checkpoint, self.lakehouse)
        check.require_lasting_marks()
        recovery = Recovery(check, self.batch_log, check.read_state())
        restart = self._restart(recovery, params, topic)
        if restart:
            return self._begin(recovery, restart, params)
        state = recovery.state
        check.require(state, topic)
        if state.last and state.last.batch is not None and state.checkpoint_id is not None:
            problem = self.find_changed_record(state.checkpoint_id, topic)
            if problem:
                raise check.error(problem, state)
        if state.last and state.is_restarted:
            restart = restart_of(state.last, topic)
            recovery.finish(restart)
        self._require_held(restart, state.checkpoint, topic)
        return self._prepared(recovery, topic, restart)

    def find_changed_record(self, checkpoint: int, topic: TopicState) -> str | None:
        """A message if the broker has another record at an offset that was read; else None."""
        rows = last_rows(self.batch_log, checkpoint)
        other = other_record(self.client, self.stream.topic, rows, topic)
        if other is None:
            return None
        part, at = other
        return (
            f"partition {part} of topic {self.stream.topic} holds another record at offset {at} "
            f"than the one in {self.stream.table}: the broker lost the end of the log and new "
            "records took its offsets, or the topic was created again."
        )

    @cached_property
    def client(self) -> Client:
        """The options of kafka-python. The login is resolved once."""
        return self.broker.client_options()

    def metadata(self, topic: TopicState, state: StreamState) -> dict[str, Any]:
        """The metadata of every commit of the stream."""
        return {
            "stream": self.name,
            "topic": self.stream.topic,
            "topic_id": topic.id,
            "table_id": state.table_id,
            "generation": state.checkpoint.generation,
            "checked_version": state.version,
        }

    def _begin(
        self, recovery: Recovery, restart: Restart, params: IngestParams
    ) -> "PreparedStream":
        """Fences the old generation, reads its final state, and begins a new generation."""
        topic = topic_state(self.client, self.stream.topic)
        metadata = self.metadata(topic, recovery.state)
        fenced = replace(recovery, state=recovery.fence(restart.option, metadata))
        current = fenced.carried_over(self._restart(fenced, params, topic) or restart)
        begun = replace(fenced, state=fenced.begin(current, metadata))
        begun.finish(current)
        return self._prepared(begun, topic, current)

    def _prepared(
        self, recovery: Recovery, topic: TopicState, restart: Restart | None
    ) -> "PreparedStream":
        ingest = replace(self, checkpoint=recovery.state.checkpoint)
        return PreparedStream(ingest, topic, recovery.state, recovery, restart)

    def _require_held(
        self, restart: Restart | None, checkpoint: Checkpoint, topic: TopicState
    ) -> None:
        if self.stream.on_data_loss == "fail":
            begin = restart.offsets if restart else checkpoint.committed()
            require_held(self.name, self.stream.topic, begin or {}, topic.earliest)

    def _restart(
        self, recovery: Recovery, params: IngestParams, topic: TopicState
    ) -> Restart | None:
        """The restart of the chosen recovery option; None if no option is chosen."""
        restart = self._chosen_option(recovery, params, topic)
        if restart:
            self._require_held(restart, self.checkpoint, topic)
        return restart

    def _chosen_option(
        self, recovery: Recovery, params: IngestParams, topic: TopicState
    ) -> Restart | None:
        if self.name in params.accept_data_loss:
            return recovery.accept_data_loss(topic)
        if self.name in params.rewind_to:
            return recovery.rewind_to(params.rewind_to[self.name], topic)
        if self.name in params.reset_checkpoint:
            return recovery.reset_checkpoint(topic)
        return None


@dataclass(frozen=True)
class PreparedStream:
    """A stream with a matching checkpoint, table and topic, or a stream that restarts."""

    ingest: Ingest
    topic: TopicState
    state: StreamState
    recovery: Recovery
    restart: Restart | None

    @property
    def name(self) -> str:
        """The name of the stream."""
        return self.ingest.name

    @property
    def stream(self) -> StreamParams:
        """The declaration of the stream."""
        return self.ingest.stream

    def start(self, trigger: str) -> StreamingQuery:
        """Starts the query that appends every message in one commit per batch."""
        ingest, begin = self.ingest, self.restart
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
            raise explained(self.name, self.stream, error) from error

    def writer(self) -> BatchWriter:
        """The writer of each batch."""
        return BatchWriter(
            self.ingest.lakehouse.name(self.stream.table),
            self.stream,
            self.ingest.checkpoint.folder,
            self.ingest.checkpoint.generation,
            self.ingest.metadata(self.topic, self.state),
            self.state.version,
            self.state.checkpoint_id,
            self.state.done + 1,
            erased=erased_records(self.stream, self.ingest.lakehouse),
            kafka_python=KafkaPythonReader(self.stream.topic, self.ingest.client),
        )

    def ended(self, query: StreamingQuery, seconds: float) -> bool:
        """Waits at most `seconds` for the end of the query. Raises the error of the query."""
        try:
            return bool(query.awaitTermination(timeout=seconds))  # type: ignore[arg-type]
        except StreamingQueryException as error:
            raise explained(self.name, self.stream, error) from error

    def account(self, *, reconcile: bool = False) -> Counts:
        """Enters new commits in the batch log, and checks that every offset is accounted for.

        With `reconcile` it checks the whole table, too.

        Raises:
            ReconciliationError: the table does not hold every offset exactly once.
            CheckpointMismatchError: a later generation has begun, so this run is stale; or Delta
                skipped the last batch.
        """
        batch_log, writer, spark = self.ingest.batch_log, self.writer(), self.ingest.lakehouse.spark
        causes = BrokerCauses(self.ingest.client, self.stream.topic)
        try:
            counts = batch_log.reconcile(causes).entered if reconcile else batch_log.update(causes)
        finally:
            writer.require_not_fenced(spark)
        writer.require_written(spark)
        return counts

    def require_same_topic(self) -> None:
        """Raises CheckpointMismatchError if the topic was created again, or its log was truncated.

        If the broker does not answer, it logs a warning, and the next call checks again.
        """
        checkpoint, problem = self.ingest.checkpoint.id(), None
        try:
            now = topic_state(self.ingest.client, self.stream.topic)
            if checkpoint is not None and now.id == self.topic.id:
                problem = self.ingest.find_changed_record(checkpoint, now)
        except UnreachableError as error:
            _warn_unreachable(self.name, error)
            return
        if problem:
            raise CheckpointMismatchError(
                f"{self.name}: {problem} Run the job again for the recovery options."
            )
        if now.id != self.topic.id:
            raise CheckpointMismatchError(
                f"{self.name}: topic {self.stream.topic} was deleted and created again while it "
                f"was read: its id was {self.topic.id}, and is {now.id}. Run the job again for "
                "the recovery options."
            )


def follow(
    streams: Sequence[PreparedStream], params: IngestParams
) -> Iterator[tuple[PreparedStream, Counts]]:
    """Runs streams side by side. Yields the counts of a stream after each update of the batch log.

    The log is updated every `params.batch_log_interval_seconds`, and at the end of a stream. If a
    stream fails, or the caller stops iterating, the others are stopped.

    Raises:
        SourceError: Kafka no longer retains the next offsets.
        ReconciliationError: a table does not hold every offset exactly once.
        CheckpointMismatchError: another program changed a table or a topic.
    """
    with ExitStack() as stack:
        queries = {each.name: each.start(params.trigger) for each in streams}
        for query in queries.values():
            stack.callback(query.stop)
        running = list(streams)
        while running:
            for each in tuple(running):
                turn = params.batch_log_interval_seconds / len(running)
                ended = each.ended(queries[each.name], turn)
                try:
                    counts = each.account(reconcile=ended and params.reconcile_at_end)
                except UnreachableError as error:
                    if ended:
                        raise
                    _warn_unreachable(each.name, error)
                    continue
                if ended:
                    running.remove(each)
                else:
                    each.require_same_topic()
                if ended or counts.offsets:
                    yield each, counts


def _warn_unreachable(name: str, error: UnreachableError) -> None:
    _log.warning("%s: the broker does not answer; the next check asks again: %s", name, error)
