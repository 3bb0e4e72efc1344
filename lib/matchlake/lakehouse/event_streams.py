"""Runs the queries of `score_events`: real time where it is possible, else micro-batches.

A query restarts when its model has a new champion, or when a user was erased.
"""

import hashlib
import inspect
import logging
import os
import re
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import pyarrow as pa
from py4j.protocol import Py4JError
from pyspark.errors import PySparkException, StreamingQueryException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.streaming.query import StreamingQuery
from pyspark.sql.streaming.readwriter import DataStreamWriter

from matchlake.config import JobConfig
from matchlake.errors import ConfigError, MatchlakeError, SourceError
from matchlake.io.brokers import Broker
from matchlake.io.delta import Lakehouse
from matchlake.io.erased_users import ERASED_USERS
from matchlake.io.kafka import require_topic
from matchlake.io.mlflow_tracking import Tracker
from matchlake.io.salt import Salt
from matchlake.lakehouse.registered_models import RECOMMENDER, registered_model
from matchlake.model_store.mlflow_flavor import FACTORS
from matchlake.model_store.scoring_folder import SCORING, load_scoring_model
from matchlake.model_store.spark import load_model
from matchlake.training.event_params import EventScoring, ScoreEventsParams
from matchlake.training.event_scores import ErasedKeys, EventQuery, RowQuery
from matchlake.training.pair_scores import PairQuery, require_pairs

_log = logging.getLogger(__name__)

_BLOCK = 64
"""The bytes of a block of SHA-256."""
_POLL_SECONDS = 1.0
_ENDED = ("already active", "Multiple streaming queries are concurrently using")
_AT_END = "20"


InputVersions = tuple[str | None, int | None]
"""The version of a champion, and that of the table of erased users."""


@dataclass(frozen=True)
class EventStreams:
    """The state that all queries of a run share."""

    config: JobConfig
    lakehouse: Lakehouse
    tracker: Tracker = field(repr=False)
    broker: Broker = field(repr=False)

    @property
    def params(self) -> ScoreEventsParams:
        """The keys of `score_events` in conf."""
        return self.config.score_events

    def prepare(self) -> list["EventStream"]:
        """The chosen streams; raises ConfigError for what cannot run, before any of them starts.

        Raises:
            ConfigError: a stream or model is not declared, or a stream must run in real time and
                cannot.
            SourceError: a topic is missing.
            ModelError: a model has no champion.
        """
        streams = [self.prepared(name, each) for name, each in self.params.chosen_streams.items()]
        slots = sum(each.partitions for each in streams if each.is_real_time)
        cores = cores_of(self.lakehouse.spark)
        if cores is not None and slots > cores:
            raise ConfigError(
                f"Real time holds one core per partition: {slots} for "
                f"{', '.join(each.name for each in streams if each.is_real_time)}, but the session "
                f"has {cores}. Score fewer streams in one run (score_events.names), set their mode "
                "to micro_batch, or start the session with more cores."
            )
        return streams

    def prepared(self, name: str, scoring: EventScoring) -> "EventStream":
        """One stream; raises as `prepare`."""
        if scoring.stream not in self.config.streams:
            raise ConfigError(
                f"score_events.streams.{name}: {scoring.stream} is not a stream of conf; declared: "
                f"{', '.join(self.config.streams) or 'none'}."
            )
        if scoring.model not in (*self.config.models, RECOMMENDER):
            raise ConfigError(
                f"score_events.streams.{name}: {scoring.model} is not a model of conf; there are "
                f"{', '.join((RECOMMENDER, *self.config.models))}."
            )
        seconds = self.config.kafka.timeout_seconds
        partitions = require_topic(self.broker, self.config.streams[scoring.stream].topic, seconds)
        for topic in filter(None, (scoring.topic, scoring.dead_letter_topic)):
            require_topic(self.broker, topic, seconds)
        # Reads the versions first, so that a later champion triggers a restart.
        versions = self.champion_version(scoring), self.erased_version()
        query = self._query(name, scoring)
        reason = self._no_real_time(query, partitions)
        if scoring.mode == "real_time" and reason:
            raise ConfigError(f"score_events.streams.{name} cannot run in real time: {reason}.")
        if reason:
            _log.info("%s: micro-batches, because %s", name, reason)
        return EventStream(self, name, partitions, query, versions, is_real_time=reason is None)

    def _query(self, name: str, scoring: EventScoring) -> EventQuery:
        """The query with the current champion."""
        model = registered_model(self.config, self.tracker, scoring.model)
        champion = model.tracker.require_champion()
        stream = self.config.streams[scoring.stream]
        query: EventQuery
        if scoring.model == RECOMMENDER:
            with model.tracker.files(champion, f"artifacts/{FACTORS}") as folder:
                factors = require_pairs(load_model(folder, self.lakehouse.spark), name)
            query = PairQuery(scoring, stream, factors, champion.version)
        else:
            with model.tracker.files(champion, f"artifacts/{SCORING}") as folder:
                loaded = load_scoring_model(folder)
            query = RowQuery(scoring, stream, loaded, champion.version)
        query.require_columns()
        _log.info("%s: version %s of model %s", name, champion.version, scoring.model)
        return query

    def _no_real_time(self, query: EventQuery, partitions: int) -> str | None:
        """Why a query cannot run in real time, as a part of a sentence; None if it can."""
        if query.params.mode == "micro_batch":
            return "conf says so (mode)"
        if self.params.trigger == "available_now":
            return "the run ends with what the topics hold (trigger: available_now)"
        if "realTime" not in inspect.signature(DataStreamWriter.trigger).parameters:
            return f"Spark {self.lakehouse.spark.version} has no real-time mode; Spark 4.1 has it"
        cores = cores_of(self.lakehouse.spark)
        if cores is not None and partitions > cores:
            return (
                f"topic {query.stream.topic} needs one core per partition: it has {partitions} "
                f"partitions, and the session {cores} cores"
            )
        return query.python_reason()

    def champion_version(self, scoring: EventScoring) -> str | None:
        """The version of the champion; None without one."""
        model = registered_model(self.config, self.tracker, scoring.model)
        champion = model.tracker.champion()
        return champion.version if champion else None

    def erased_version(self) -> int | None:
        """The Delta version of the table of erased users; None without one."""
        name = ERASED_USERS.name
        return self.lakehouse.version(name) if self.lakehouse.exists(name) else None

    def erased_keys(self) -> ErasedKeys | None:
        """The erased users in a form that SQL can match; None if there are none."""
        users = self.lakehouse.erased_users()
        return erased_keys(self.lakehouse.spark, users.salt, users.hashes) if users else None


def erased_keys(spark: SparkSession, salt: Salt, hashes: Iterable[str]) -> ErasedKeys:
    """Hashes of erased users, and the two HMAC keys of the salt, for SQL that matches users."""
    key = hashlib.sha256(salt.key).digest() if len(salt.key) > _BLOCK else salt.key
    padded = key.ljust(_BLOCK, b"\0")
    inner, outer = (bytes(each ^ pad for each in padded) for pad in (0x36, 0x5C))
    # Builds the frame from Arrow: real time refuses the scan of a frame of Python rows.
    pads = pa.table({"_never": [False], "_inner": [inner], "_outer": [outer]})
    users = pa.table({"_user_hash": pa.array([*hashes], pa.string())})
    return ErasedKeys(spark.createDataFrame(pads), spark.createDataFrame(users))


@dataclass(frozen=True)
class EventStream:
    """One stream that is ready to run."""

    shared: EventStreams
    name: str
    partitions: int
    query: EventQuery
    input_versions: InputVersions
    """The versions that the query has read."""
    is_real_time: bool

    @property
    def scoring(self) -> EventScoring:
        """The declaration in conf."""
        return self.query.params

    def start(self) -> StreamingQuery:
        """Starts the query."""
        records = self.query.records(self._messages(), self.shared.erased_keys())
        writer = (
            records.writeStream.format("kafka")
            .options(**self.shared.broker.spark_options())
            .option("checkpointLocation", f"{self.shared.config.checkpoints}/score_{self.name}")
            .queryName(f"score_{self.name}")
            .outputMode("update" if self.is_real_time else "append")
        )
        try:
            started = writer.trigger(**self._trigger()).start()
        except (PySparkException, Py4JError) as error:
            raise self.explained(error) from error
        _log.info(
            "%s: scores with version %s, in %s",
            *(self.name, self.query.version, "real time" if self.is_real_time else "micro-batches"),
        )
        return started

    def changed_versions(self) -> InputVersions | None:
        """The current versions; None if champion and erased users are unchanged."""
        version, erased = self.input_versions
        try:
            erased = self.shared.erased_version()
            version = self.shared.champion_version(self.scoring)
        except MatchlakeError as error:
            _log.warning(
                "%s: the champion cannot be read now; the next check tries: %s", self.name, error
            )
        return None if (version, erased) == self.input_versions else (version, erased)

    def _messages(self) -> DataFrame:
        options = {
            **self.shared.broker.spark_options(),
            "subscribe": self.query.stream.topic,
            "kafka.isolation.level": "read_committed",
            "startingOffsets": self.scoring.starting_offsets,
            "failOnDataLoss": str(self.query.stream.on_data_loss == "fail").lower(),
            "kafka.fetch.max.wait.ms": _AT_END,
        }
        return self.shared.lakehouse.spark.readStream.format("kafka").options(**options).load()

    def _trigger(self) -> dict[str, Any]:
        params = self.shared.params
        if self.is_real_time:
            return {"realTime": params.batch}
        if params.trigger == "available_now":
            return {"availableNow": True}
        return {"processingTime": params.trigger}

    def explained(self, error: Exception) -> Exception:
        """The cause of a failed query as an error of matchlake; else the error itself."""
        text = str(error)
        if any(each in text for each in _ENDED):
            return SourceError(
                f"{self.name}: another run scores this stream, with the same checkpoint. Let one "
                "of them end."
            )
        if "data may have been lost" in text or "KAFKA_DATA_LOSS" in text:
            return SourceError(
                f"{self.name}: Kafka no longer retains the next events. To go on after them, "
                f"set streams.{self.scoring.stream}.on_data_loss: record in conf."
            )
        return error


class RunningStream:
    """A stream and its query, which restarts when the versions of its inputs change."""

    def __init__(self, stream: EventStream) -> None:
        self._stream = stream
        self._check_at = self._next_check()
        self.query = stream.start()

    def has_ended(self, seconds: float) -> bool:
        """Waits so many seconds. Returns whether the query has ended. Raises its error."""
        try:
            if self.query.awaitTermination(timeout=seconds):  # type: ignore[arg-type]
                return True
        except StreamingQueryException as error:
            raise self._stream.explained(error) from error
        if time.monotonic() >= self._check_at:
            self._check_at = self._next_check()
            now = self._stream.changed_versions()
            if now is not None:
                self._restart(now)
        return False

    def _next_check(self) -> float:
        return time.monotonic() + self._stream.shared.params.check_seconds

    def _restart(self, now: InputVersions) -> None:
        before = self._stream
        _log.info("%s restarts: it has a new champion, or a user was erased", before.name)
        try:
            self._stream = before.shared.prepared(before.name, before.scoring)
        except MatchlakeError as error:
            # The old version goes on scoring, and the next check tries again. Erased users get no
            # scores.
            _log.error("%s: version %s stays: %s", before.name, before.query.version, error)
            if now[1] == before.input_versions[1]:
                return
            self._stream = replace(before, input_versions=(before.input_versions[0], now[1]))
        self.query.stop()
        self.query = self._stream.start()


def run_streams(streams: list[EventStream]) -> None:
    """Runs all streams side by side until they end; if one fails, the others are stopped."""
    with _stopping() as running:
        for each in streams:
            running.append(RunningStream(each))
        while running:
            for one in tuple(running):
                if one.has_ended(_POLL_SECONDS / len(running)):
                    running.remove(one)


@contextmanager
def _stopping() -> Iterator[list[RunningStream]]:
    running: list[RunningStream] = []
    try:
        yield running
    finally:
        for each in running:
            each.query.stop()


def cores_of(spark: SparkSession) -> int | None:
    """The cores of a local session; None on a cluster, which may grow."""
    master = str(spark.conf.get("spark.master", ""))
    found = re.match(r"local\[(\d+|\*)", master)
    if found:
        return (os.cpu_count() or 1) if found[1] == "*" else int(found[1])
    cluster = re.match(r"local-cluster\[(\d+),\s*(\d+)", master)
    if cluster:
        return int(cluster[1]) * int(cluster[2])
    return 1 if master == "local" else None
