"""The progress of a running stream after each batch: a line of JSON in the log, and a file."""

import json
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from pyspark.sql import SparkSession
from pyspark.sql.streaming.listener import (
    QueryIdleEvent,
    QueryProgressEvent,
    QueryStartedEvent,
    QueryTerminatedEvent,
    StreamingQueryListener,
    StreamingQueryProgress,
)

from matchlake.io.telemetry import observe, set_level

_log = logging.getLogger(__name__)

FOLDER = "progress"
"""The folder in a local lakehouse with one file per stream."""


class Progress(NamedTuple):
    """One stream after one batch."""

    stream: str
    at: str
    """When the batch began, ISO 8601, UTC."""
    batch: int
    records: int
    """The number of records in the batch."""
    records_per_second: float
    batch_seconds: float
    lag_records: int
    """The number of unread records in the topic."""
    lag_seconds: float
    """The time to read them at the current rate."""
    state: str = "running"


def progress_of(event: StreamingQueryProgress) -> Progress:
    """The progress in an event of Spark."""
    lag = sum(_behind(source.endOffset, source.latestOffset) for source in event.sources)
    rate = event.processedRowsPerSecond
    rate = rate if rate == rate else 0.0  # noqa: PLR0124 - the rate of an empty batch is NaN
    return Progress(
        event.name or str(event.id),
        event.timestamp,
        event.batchId,
        event.numInputRows,
        round(rate, 1),
        round(event.durationMs.get("triggerExecution", 0) / 1000, 3),
        lag,
        round(lag / rate, 1) if rate else 0.0,
    )


def read_progress(lakehouse: str) -> list[Progress]:
    """The last progress of each stream of a local lakehouse, by name."""
    streams = []
    for file in sorted((Path(lakehouse) / FOLDER).glob("*.json")):
        with suppress(OSError, ValueError, TypeError):
            streams.append(Progress(**json.loads(file.read_text(encoding="utf-8"))))
    return streams


@contextmanager
def reporting(spark: SparkSession, lakehouse: str | None) -> Iterator[None]:
    """A context in which every batch of every query is logged, and kept in a local lakehouse."""
    listener = ProgressListener(lakehouse)
    spark.streams.addListener(listener)
    try:
        yield
    finally:
        spark.streams.removeListener(listener)


class ProgressListener(StreamingQueryListener):
    """Logs each batch, and keeps the last one of each stream in a file of a local lakehouse."""

    def __init__(self, lakehouse: str | None) -> None:
        self._folder = Path(lakehouse).absolute() / FOLDER if lakehouse else None
        self._names: dict[str, Progress] = {}

    def onQueryStarted(self, event: QueryStartedEvent) -> None:  # noqa: N802 - Spark's name
        """A query has started: there is no progress yet."""

    def onQueryProgress(self, event: QueryProgressEvent) -> None:  # noqa: N802 - Spark's name
        """A batch is done."""
        self._report(str(event.progress.id), progress_of(event.progress))

    def onQueryIdle(self, event: QueryIdleEvent) -> None:  # noqa: N802 - Spark's name
        """The topic had no new records."""
        last = self._names.get(str(event.id))
        if last:
            idle = last._replace(at=event.timestamp, lag_records=0, lag_seconds=0.0, state="idle")
            self._keep(idle)

    def onQueryTerminated(self, event: QueryTerminatedEvent) -> None:  # noqa: N802 - Spark's name
        """A query has ended, with or without an error."""
        last = self._names.pop(str(event.id), None)
        if last:
            self._keep(last._replace(state="failed" if event.exception else "ended"))

    def _report(self, query: str, progress: Progress) -> None:
        self._names[query] = progress
        observe("matchlake.batch.seconds", progress.batch_seconds, stream=progress.stream)
        set_level("matchlake.batch.lag", progress.lag_records, stream=progress.stream)
        # In a local lakehouse the file has the progress, and `matchlake streams status` shows it.
        level = logging.INFO if self._folder is None else logging.DEBUG
        _log.log(level, "%s", json.dumps(progress._asdict()))
        self._keep(progress)

    def _keep(self, progress: Progress) -> None:
        if self._folder is None:
            return
        file = self._folder / f"{progress.stream}.json"
        part = file.with_suffix(f".{os.getpid()}.part")
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            part.write_text(json.dumps(progress._asdict()), encoding="utf-8")
            part.replace(file)
        except OSError as error:
            _log.warning("%s cannot be written: %s", file, error.strerror)


def _behind(end: Any, latest: Any) -> int:
    """The number of records between two offsets of Kafka, as JSON text or parsed."""
    read, present = (json.loads(each) if isinstance(each, str) else each for each in (end, latest))
    return sum(
        max(0, at - (read or {}).get(topic, {}).get(part, 0))
        for topic, parts in (present or {}).items()
        for part, at in parts.items()
    )
