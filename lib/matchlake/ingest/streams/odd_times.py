"""Messages with a timestamp that no table can hold, and the batches that contain them.

Kafka keeps milliseconds in 64 bits, and a table keeps microseconds in 64 bits. The timestamp of a
producer that sends nanoseconds overflows as microseconds, and Spark's Kafka source then fails for
the whole batch. Such a batch is read with kafka-python instead, in parallel on the executors.
Messages with such a timestamp get no timestamp and are quarantined, so every offset of the batch
still has a row.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from matchlake.ingest.streams.checkpoint import Ranges
from matchlake.ingest.streams.messages import ODD_TIMESTAMP
from matchlake.io.kafka import TABLE_MILLIS, Client
from matchlake.io.kafka_records import local_client, portable_client, records_between

_OVERFLOW = re.compile(r"ArithmeticException.*long overflow", re.DOTALL)
_OFFSETS_PER_TASK = 50_000
_RECORDS_PER_BATCH = 2_000
_MESSAGE = pa.schema(
    [
        ("key", pa.binary()),
        ("value", pa.binary()),
        ("headers", pa.list_(pa.struct([("key", pa.string()), ("value", pa.binary())]))),
        ("partition", pa.int32()),
        ("offset", pa.int64()),
        ("timestamp", pa.int64()),
        (ODD_TIMESTAMP, pa.int64()),
    ]
)
_DDL = (
    "key BINARY, value BINARY, headers ARRAY<STRUCT<key: STRING, value: BINARY>>, partition INT,"
    f" offset BIGINT, timestamp BIGINT, {ODD_TIMESTAMP} BIGINT"
)


def is_overflow(error: Exception) -> bool:
    """Whether a batch failed because a timestamp in microseconds does not fit into 64 bits."""
    return _OVERFLOW.search(str(error)) is not None


@dataclass(frozen=True)
class KafkaPythonReader:
    """Reads the messages of a batch with kafka-python, in ranges of offsets on the executors."""

    topic: str
    client: Client = field(repr=False)

    def __reduce__(self) -> tuple[type["KafkaPythonReader"], tuple[str, Client]]:
        """The state that Spark sends to a Connect server: options for another machine."""
        return KafkaPythonReader, (self.topic, portable_client(self.client))

    def read(self, messages: DataFrame, plan: Ranges) -> DataFrame:
        """The messages of the planned offsets, with the columns of `messages`. Lazy.

        Adds `odd_timestamp`. The client runs on the executors, with the options of this run.
        """
        spark, topic, client = messages.sparkSession, self.topic, portable_client(self.client)
        ranges = [
            (part, at, min(at + _OFFSETS_PER_TASK, end))
            for part, (first, end) in plan.items()
            for at in range(first, end, _OFFSETS_PER_TASK)
        ]
        frame = spark.createDataFrame(ranges, "partition INT, first BIGINT, end BIGINT")

        def read(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
            for row in (row for batch in batches for row in batch.to_pylist()):
                between = {row["partition"]: (row["first"], row["end"])}
                with local_client(client) as options:
                    yield from _batches(records_between(options, topic, between))

        spread = frame.repartition(max(1, len(ranges)), F.col("partition"), F.col("first"))
        rows = spread.mapInArrow(read, _DDL)
        return rows.withColumn("timestamp", F.timestamp_micros("timestamp"))


def _batches(records: Iterable[Any]) -> Iterator[pa.RecordBatch]:
    rows: list[dict[str, Any]] = []
    for record in records:
        rows.append(_message(record))
        if len(rows) == _RECORDS_PER_BATCH:
            yield pa.RecordBatch.from_pylist(rows, _MESSAGE)
            rows = []
    if rows:
        yield pa.RecordBatch.from_pylist(rows, _MESSAGE)


def _message(record: Any) -> dict[str, Any]:
    """The row of a record of kafka-python."""
    at = -1 if record.timestamp is None else record.timestamp
    is_odd = abs(at) > TABLE_MILLIS
    return {
        "key": record.key,
        "value": record.value,
        "headers": [{"key": k, "value": v} for k, v in record.headers] or None,
        "partition": record.partition,
        "offset": record.offset,
        "timestamp": None if is_odd else at * 1000,
        ODD_TIMESTAMP: at if is_odd else None,
    }
