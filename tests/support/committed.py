"""A stream's table and checkpoint as its batches leave them, without a broker."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from tests.support.streams import runtime_in, stream_entry, valid_value

from matchlake.ingest.params import IngestParams
from matchlake.ingest.streams import runner as streams
from matchlake.ingest.streams import same_log
from matchlake.ingest.streams.audit import BatchLog
from matchlake.ingest.streams.checkpoint import Checkpoint
from matchlake.ingest.streams.runner import Ingest, PreparedStream
from matchlake.io.brokers import Broker
from matchlake.io.kafka import TopicState

TOPIC = TopicState("t1", {0: 0}, {0: 100})


def ingest_in(spark: SparkSession, folder: Path, name: str, **keys: object) -> Ingest:
    """A stream `name` with tables below schema `name`, whose broker does not exist."""
    runtime = runtime_in(spark, folder, streams={name: stream_entry(name, name, **keys)})
    stream = runtime.config.streams[name]
    checkpoint = Checkpoint(spark, str(folder / "checkpoints" / name), name)
    batch_log = BatchLog(name, stream, f"{name}.batches", runtime.lakehouse)
    return Ingest(name, stream, runtime.lakehouse, checkpoint, batch_log, Broker("127.0.0.1:1"))


def prepared(
    at: Ingest, monkeypatch: pytest.MonkeyPatch, topic: TopicState = TOPIC, **params: object
) -> PreparedStream:
    """The stream as a start finds it, when the broker says this of the topic.

    The broker shows no record: what it holds is not compared.
    """
    monkeypatch.setattr(streams, "topic_state", lambda *_: topic)
    monkeypatch.setattr(same_log, "records_at", lambda *_: {})
    return at.prepare(IngestParams.model_validate(params))


def write(
    at: PreparedStream,
    batch: int,
    end: int,
    missing: Iterable[int] = (),
    bad: Mapping[int, bytes] = {},
    checkpoint: str = "c1",
) -> None:
    """Writes a batch of rows up to before offset `end`, and holds it for done.

    They are valid, with a rating of 1, except for the `bad` values by offset.
    """
    plan(at, batch, end, checkpoint)
    ((first, _),) = at.ingest.checkpoint.plan(batch).values()
    offsets = sorted(set(range(first, end)).difference(missing))
    values = [(each, bad.get(each, valid_value(each, rating=1))) for each in offsets]
    at.writer()(messages(at.ingest, values), batch)
    done = Path(at.ingest.checkpoint.path) / "commits" / str(batch)
    done.parent.mkdir(exist_ok=True)
    done.write_text("v1\n{}")


def plan(at: PreparedStream, batch: int, end: int, checkpoint: str = "c1") -> None:
    """Logs in the checkpoint that a batch is to be read, as Spark does."""
    folder, topic = Path(at.ingest.checkpoint.path), at.stream.topic
    begin = (at.restart.offsets if at.restart else None) or {0: 0}
    for file, text in (
        ("metadata", json.dumps({"id": checkpoint})),
        ("sources/0/0", json.dumps({topic: begin})),
        (f"offsets/{batch}", f"v1\n{{}}\n{json.dumps({topic: {0: end}})}"),
    ):
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        if not (folder / file).exists():  # Spark writes none of them anew
            (folder / file).write_text(text)


def messages(at: Ingest, values: list[tuple[int, bytes]]) -> DataFrame:
    """Messages of partition 0 as Kafka gives them: offsets and values."""
    found = at.lakehouse.spark.createDataFrame(values, "offset BIGINT, value BINARY")
    rest = {
        "key": F.lit(None).cast("binary"),
        "headers": F.lit(None).cast("array<struct<key: string, value: binary>>"),
        "partition": F.lit(0),
        "timestamp": F.lit("2024-05-01 10:00:00").cast("timestamp"),
    }
    return found.withColumns(rest)


def offsets(at: Ingest) -> list[int]:
    """The offsets that the table has, in order."""
    found = at.lakehouse.read(at.stream.table).select("offset").collect()
    return sorted(row.offset for row in found)
