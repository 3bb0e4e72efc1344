"""The messages of a stream's topic, as Spark reads them."""

import json
import logging
from collections.abc import Mapping

from pyspark.sql import DataFrame, SparkSession

from matchlake.ingest.params import StreamParams
from matchlake.io.brokers import Broker

_log = logging.getLogger(__name__)

# What may stand in a log; every other option of the source might hold a secret.
_LOGGED = ("subscribe", "kafka.bootstrap.servers", "startingOffsets", "maxOffsetsPerTrigger")
# Spark asks the broker twice more after each poll, for the first and the last offset that it holds:
# with Kafka's own 500 records a poll that costs more than reading them.
_RECORDS_A_POLL = "10000"
# And with its 1 MiB a fetch it asks for records four times as often, and waits for them.
_BYTES_A_FETCH = str(4 * 2**20)
# At a topic's end the broker keeps a fetch waiting for new records, and with it those questions:
# half a second, for each partition, of a batch that has all its records.
_WAIT_AT_THE_END = "20"


def read_messages(
    spark: SparkSession,
    broker: Broker,
    stream: StreamParams,
    begin: Mapping[int, int] | None = None,
) -> DataFrame:
    """The messages of the stream's topic, as a stream; lazy.

    A new checkpoint begins at the offsets of `begin`, and where it names none at the first.
    Records of transactions that were not committed are not read.

    Columns: key, value binary, topic string, partition int, offset bigint, timestamp,
    timestampType int, headers array of key and value. Where Kafka has lost messages that
    were not read yet, the query fails, or goes on after them, as the stream says.
    """
    options = {
        **broker.spark_options(),
        "subscribe": stream.topic,
        "kafka.isolation.level": "read_committed",
        "startingOffsets": json.dumps({stream.topic: begin}) if begin else "earliest",
        "failOnDataLoss": str(stream.on_data_loss == "fail").lower(),
        "includeHeaders": "true",
        "kafka.max.poll.records": _RECORDS_A_POLL,
        "kafka.max.partition.fetch.bytes": _BYTES_A_FETCH,
        "kafka.fetch.max.wait.ms": _WAIT_AT_THE_END,
    }
    if stream.max_offsets_per_batch is not None:
        options["maxOffsetsPerTrigger"] = str(stream.max_offsets_per_batch)
    _log.info("Kafka: %s", ", ".join(f"{k}={v}" for k, v in options.items() if k in _LOGGED))
    return spark.readStream.format("kafka").options(**options).load()
