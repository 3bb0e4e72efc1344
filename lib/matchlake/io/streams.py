"""Runs declared streams: from a topic into its bronze table, and proves that nothing is missing."""

import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace

from pydantic import Field, field_validator
from pyspark.errors import StreamingQueryException
from pyspark.sql.streaming.query import StreamingQuery

from matchlake.errors import ConfigError, ReconciliationError, SourceError
from matchlake.ingest.columns import GOOD, QUARANTINED
from matchlake.ingest.params import StreamParams
from matchlake.ingest.records import parse_messages
from matchlake.ingest.tables import stream_table, stream_views
from matchlake.io.batches import BatchWriter
from matchlake.io.checkpoint import Checkpoint, Offsets
from matchlake.io.delta import Lakehouse
from matchlake.io.kafka import read_messages
from matchlake.params import Params
from matchlake.schemas import quote_text

_log = logging.getLogger(__name__)

AVAILABLE_NOW = "available_now"


class IngestParams(Params):
    """Which streams `ingest_events` reads, and when it stops."""

    streams: tuple[str, ...] | None = None
    """Names of declared streams; null: all of them."""
    trigger: str = AVAILABLE_NOW
    """`available_now`: what is there, then end; `10 seconds`: a batch that often, until stopped."""
    reconcile_seconds: float = Field(60, gt=0)
    """How often a stream that does not end is reconciled."""

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
class Counts:
    """Records of one stretch of a topic, as offsets and as rows."""

    read: int = 0
    good: int = 0
    quarantined: int = 0


@dataclass(frozen=True)
class Ingest:
    """One stream under way from the broker at `address` into its table."""

    name: str
    stream: StreamParams
    lakehouse: Lakehouse
    checkpoint: Checkpoint
    address: str = field(repr=False)

    def prepare(self) -> None:
        """Creates table and views where they are missing; raises TableError at another shape."""
        self.lakehouse.create(stream_table(self.stream))
        for view in stream_views(self.stream):
            self.lakehouse.create_view(view)

    def start(self, trigger: str) -> StreamingQuery:
        """Starts the query that appends every message, good or bad, in one commit a batch."""
        messages = read_messages(
            self.lakehouse.spark,
            self.address,
            self.stream.topic,
            self.stream.max_offsets_per_batch,
        )
        write = BatchWriter(
            self.name,
            self.stream.topic,
            self.lakehouse.name(self.stream.table),
            self.checkpoint.path,
        )
        writer = (
            parse_messages(messages, self.stream)
            .writeStream.foreachBatch(write)
            .queryName(self.name)
            .option("checkpointLocation", self.checkpoint.path)
        )
        if trigger == AVAILABLE_NOW:
            return writer.trigger(availableNow=True).start()
        return writer.trigger(processingTime=trigger).start()

    def ended(self, query: StreamingQuery, seconds: float) -> bool:
        """Waits until the query has ended or the time is over; raises SourceError on data loss."""
        try:
            return bool(query.awaitTermination(timeout=seconds))  # type: ignore[arg-type]
        except StreamingQueryException as error:
            if "KAFKA_DATA_LOSS" not in str(error):
                raise
            raise SourceError(
                f"Kafka no longer holds all that {self.name} has yet to read of topic "
                f"{self.stream.topic}: {str(error).splitlines()[0]}"
            ) from error

    def reconcile(self, since: Offsets | None) -> tuple[Counts, Offsets | None]:
        """Compares the offsets committed after `since` with the table's rows, one by one.

        Returns the counts, and up to where they go. Raises ReconciliationError.
        """
        until = self.checkpoint.committed()
        start = self.checkpoint.first() if since is None else since
        if until is None or start is None:
            return Counts(), since
        counts = Counts()
        problems = []
        ranges = {part: (start.get(part, 0), end) for part, end in until.items()}
        found = self._rows(ranges)
        for part, (first, end) in ranges.items():
            good, bad, distinct = found.get(part, (0, 0, 0))
            counts = replace(
                counts,
                read=counts.read + end - first,
                good=counts.good + good,
                quarantined=counts.quarantined + bad,
            )
            if not end - first == good + bad == distinct:
                problems.append(
                    f"partition {part}, offsets {first} to {end - 1}: {end - first} read, but "
                    f"{good} good + {bad} quarantined rows at {distinct} offsets"
                )
        if problems:
            raise ReconciliationError(
                f"{self.stream.table} does not hold every record of topic {self.stream.topic} "
                f"exactly once: {'; '.join(problems)}. Checkpoint: {self.checkpoint.path}."
            )
        return counts, until

    def _rows(self, ranges: Mapping[int, tuple[int, int]]) -> dict[int, tuple[int, int, int]]:
        """For each partition: rows good, rows quarantined, distinct offsets, in its range."""
        within = " OR ".join(
            f"(partition = {part} AND offset >= {first} AND offset < {end})"
            for part, (first, end) in ranges.items()
            if end > first
        )
        if not within:
            return {}
        found = self.lakehouse.spark.sql(
            f"SELECT partition, count_if(status = '{GOOD}'), count_if(status = '{QUARANTINED}'),"
            f" count(DISTINCT offset) FROM {self.lakehouse.name(self.stream.table)}"
            f" WHERE topic = {quote_text(self.stream.topic)} AND ({within}) GROUP BY partition"
        )
        return {part: (good, bad, distinct) for part, good, bad, distinct in found.collect()}


def follow(ingests: Sequence[Ingest], params: IngestParams) -> Iterator[tuple[Ingest, Counts]]:
    """Runs streams side by side; yields what each has read, once that is reconciled.

    That is every `params.reconcile_seconds` and at a stream's end. When one fails, or the caller
    turns away, the others are stopped.

    Raises:
        SourceError: Kafka no longer holds what was to be read.
        ReconciliationError: a table does not hold every offset exactly once.
    """
    with ExitStack() as stack:
        since = {ingest.name: ingest.checkpoint.committed() for ingest in ingests}
        queries = {ingest.name: ingest.start(params.trigger) for ingest in ingests}
        for query in queries.values():
            stack.callback(query.stop)
        waiting = list(ingests)
        while waiting:
            for ingest in tuple(waiting):
                turn = params.reconcile_seconds / len(waiting)
                ended = ingest.ended(queries[ingest.name], turn)
                counts, since[ingest.name] = ingest.reconcile(since[ingest.name])
                if ended:
                    waiting.remove(ingest)
                if ended or counts.read:
                    yield ingest, counts
