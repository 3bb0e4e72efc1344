"""Reads the messages of a topic as a stream."""

import json
import logging
from collections.abc import Mapping

from pyspark.sql import DataFrame, SparkSession

from matchlake.ingest.params import StreamParams
from matchlake.io.brokers import Broker

_log = logging.getLogger(__name__)

# These options are safe to log. Every other option may hold a secret.
_LOGGED = ("subscribe", "kafka.bootstrap.servers", "startingOffsets", "maxOffsetsPerTrigger")
# max.poll.records. After each poll Spark asks the broker for the first and the last offset. With
# the default of 500 records these two calls cost more than the poll.
_RECORDS_PER_POLL = "10000"
# max.partition.fetch.bytes. With the default of 1 MiB, Spark waits four times as often.
_BYTES_PER_FETCH = str(4 * 2**20)
# fetch.max.wait.ms. With the default of 500 ms, at the end of a topic the broker delays
# a fetch by half a second per partition, although the batch is complete.
_WAIT_AT_END = "20"


def read_messages(
    spark: SparkSession,
    broker: Broker,
    stream: StreamParams,
    begin: Mapping[int, int] | None = None,
) -> DataFrame:
    """The messages of the topic as a stream. Lazy.

    A new checkpoint begins at the offsets of `begin`, or at the first offset of each partition.
    Records of uncommitted transactions are not read.

    Columns: key, value binary, topic string, partition int, offset bigint, timestamp,
    timestampType int, headers array of key and value. If Kafka has removed unread messages, the
    query fails or continues after them, as `on_data_loss` says.
    """
    options = {
        **broker.spark_options(),
        "subscribe": stream.topic,
        "kafka.isolation.level": "read_committed",
        "startingOffsets": json.dumps({stream.topic: begin}) if begin else "earliest",
        "failOnDataLoss": str(stream.on_data_loss == "fail").lower(),
        "includeHeaders": "true",
        "kafka.max.poll.records": _RECORDS_PER_POLL,
        "kafka.max.partition.fetch.bytes": _BYTES_PER_FETCH,
        "kafka.fetch.max.wait.ms": _WAIT_AT_END,
    }
    if stream.max_offsets_per_trigger is not None:
        options["maxOffsetsPerTrigger"] = str(stream.max_offsets_per_trigger)
    _log.debug("Kafka: %s", ", ".join(f"{k}={v}" for k, v in options.items() if k in _LOGGED))
    return spark.readStream.format("kafka").options(**options).load()
