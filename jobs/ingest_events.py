"""Kafka -> bronze: every declared stream into its Delta table, each record exactly once.

Each batch is one append of valid and quarantined records; views separate them. The job reads what
the topics hold and ends. With `--set ingest.trigger="10 seconds"` it runs until it is stopped.
"""

import logging
import sys

from matchlake.ingest.streams.audit import BatchLog
from matchlake.ingest.streams.checkpoint import Checkpoint
from matchlake.ingest.streams.progress import reporting
from matchlake.ingest.streams.runner import Ingest, PreparedStream, chosen_streams, follow
from matchlake.io.brokers import configured_broker
from matchlake.io.erasure_marks import warn_of_erasures
from matchlake.io.kafka import require_topic
from matchlake.runtime import Flag, Runtime, run_job

_log = logging.getLogger("matchlake.ingest_events")

RECOVERY_OPTIONS = (
    Flag(
        "--accept-data-loss",
        "ingest.accept_data_loss",
        "STREAM",
        "continues after the last offset read; missing offsets become accepted gaps",
    ),
    Flag(
        "--rewind-to",
        "ingest.rewind_to",
        "STREAM=BATCH",
        "deletes the rows from this batch on, and reads them again",
    ),
    Flag(
        "--reset-checkpoint",
        "ingest.reset_checkpoint",
        "STREAM",
        "begins at the first record of the topic, as a new stream",
    ),
)


def prepare(runtime: Runtime) -> list[PreparedStream]:
    """The chosen streams, after the check that topic, table and checkpoint belong together."""
    config = runtime.config
    broker = configured_broker(config.kafka, config.lakehouse, runtime.secrets)
    streams = []
    for name, stream in chosen_streams(config.streams, config.ingest).items():
        partitions = require_topic(broker, stream.topic, config.kafka.timeout_seconds)
        checkpoint = Checkpoint(runtime.spark, f"{config.checkpoints}/{name}", stream.topic)
        batch_log = BatchLog(name, stream, config.ingest.batch_log, runtime.lakehouse)
        ingest = Ingest(name, stream, runtime.lakehouse, checkpoint, batch_log, broker)
        streams.append(ingest.prepare(config.ingest))
        _log.info("%s: topic %s, %d partition(s)", name, stream.topic, partitions)
        warn_of_erasures(runtime.lakehouse, [stream.table])
    return streams


def run(runtime: Runtime) -> None:
    """Reads the chosen streams; every offset becomes a valid row, a quarantined row or a gap."""
    streams = prepare(runtime)
    with reporting(runtime.spark, runtime.config.lakehouse):
        for each, counts in follow(streams, runtime.config.ingest):
            _log.info(
                "%s: read %d = %d valid + %d quarantined, %d in gaps; %s is at version %d",
                each.name,
                counts.valid + counts.quarantined,
                counts.valid,
                counts.quarantined,
                counts.gaps,
                each.stream.table,
                runtime.lakehouse.version(each.stream.table),
            )


if __name__ == "__main__":
    sys.exit(run_job("ingest_events", run, flags=RECOVERY_OPTIONS))
