"""Kafka as a source: where the broker is, whether the topic is there, and its messages."""

import json
import logging
import socket
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from kafka import KafkaAdminClient
from kafka.errors import KafkaError
from pydantic import Field
from pyspark.sql import DataFrame, SparkSession

from matchlake.errors import ConfigError, SourceError
from matchlake.ingest.params import StreamParams
from matchlake.params import Params

_log = logging.getLogger(__name__)
# The client warns of every step that is slow on a busy machine; what fails, it raises.
logging.getLogger("kafka").setLevel(logging.ERROR)

# What may stand in a log; every other option of the source might hold a secret.
_LOGGED = ("subscribe", "kafka.bootstrap.servers", "startingOffsets", "maxOffsetsPerTrigger")
_NAMED = 12


class KafkaParams(Params):
    """How the broker is reached."""

    bootstrap_servers: str | None = None
    """`host:port`, more than one with commas; null: the sandbox's broker below `lakehouse`."""
    patience: float = Field(5.0, gt=0)
    """Seconds to wait for its first answer before the job fails."""


def broker_address(params: KafkaParams, lakehouse: str | None) -> str:
    """The bootstrap servers; raises ConfigError where none is named and no sandbox was started."""
    if params.bootstrap_servers:
        return params.bootstrap_servers
    with suppress(OSError, ValueError, KeyError):
        state = json.loads((Path(lakehouse or "") / "kafka" / "state.json").read_text("utf-8"))
        return f"127.0.0.1:{int(state['port'])}"
    raise ConfigError(
        "No broker: kafka.bootstrap_servers is not set, and no sandbox was started in "
        f"{lakehouse or 'this environment'}. Set it in conf, or run `matchlake sandbox start`."
    )


def require_topic(address: str, topic: str, patience: float) -> int:
    """The topic's number of partitions.

    Raises:
        SourceError: no broker answers within `patience` seconds, or it has no such topic.
    """
    _require_answer(address, patience)
    try:
        with KafkaAdminClient(
            bootstrap_servers=address.split(","), bootstrap_timeout_ms=int(patience * 1000)
        ) as admin:
            there = sorted(name for name in admin.list_topics() if not name.startswith("__"))
            if topic in there:
                return len(admin.describe_topics([topic])[0]["partitions"])
    except (OSError, KafkaError) as error:
        raise SourceError(f"The broker at {address} does not answer as Kafka: {error}") from error
    listed = ", ".join(there[:_NAMED]) + (", ..." if len(there) > _NAMED else "")
    raise SourceError(
        f"No topic {topic} at {address} (there is: {listed or 'none'}). Create it, or name "
        "another one in the stream's `topic`."
    )


def read_messages(
    spark: SparkSession,
    address: str,
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
        "subscribe": stream.topic,
        "kafka.bootstrap.servers": address,
        "kafka.isolation.level": "read_committed",
        "startingOffsets": json.dumps({stream.topic: begin}) if begin else "earliest",
        "failOnDataLoss": str(stream.on_data_loss == "fail").lower(),
        "includeHeaders": "true",
    }
    if stream.max_offsets_per_batch is not None:
        options["maxOffsetsPerTrigger"] = str(stream.max_offsets_per_batch)
    _log.info("Kafka: %s", ", ".join(f"{k}={v}" for k, v in options.items() if k in _LOGGED))
    return spark.readStream.format("kafka").options(**options).load()


def _require_answer(address: str, patience: float) -> None:
    """Fails fast where nothing listens: Kafka's clients would try for minutes, and log each try."""
    problems = []
    for server in address.split(","):
        host, _, port = server.strip().rpartition(":")
        if not host or not port.isdigit():
            raise ConfigError(f"{server!r} is no broker's address: it has to be host:port.")
        try:
            with socket.create_connection((host, int(port)), timeout=patience):
                return
        except OSError as error:
            problems.append(f"{server.strip()}: {error.strerror or error}")
    raise SourceError(
        f"No broker answers ({'; '.join(problems)}). Start it, the sandbox's with `matchlake "
        "sandbox start`, or correct kafka.bootstrap_servers."
    )
