"""Kafka -> bronze: every declared stream into its Delta table, each record exactly once.

Good and bad records of a batch are one append; views tell them apart. Reads what is there and
ends; with `--set ingest.trigger="10 seconds"` it goes on until it is stopped.
"""

import logging
import sys

from matchlake.io.checkpoint import Checkpoint
from matchlake.io.kafka import broker_address, require_topic
from matchlake.io.streams import Ingest, chosen_streams, follow
from matchlake.runtime import Runtime, run_job

_log = logging.getLogger("matchlake.ingest_events")


def run(runtime: Runtime) -> None:
    """Reads the chosen streams, and checks of each that read = good + quarantined."""
    config = runtime.config
    address = broker_address(config.kafka, config.lakehouse)
    ingests = []
    for name, stream in chosen_streams(config.streams, config.ingest).items():
        partitions = require_topic(address, stream.topic, config.kafka.patience)
        checkpoint = Checkpoint(runtime.spark, f"{config.checkpoints}/{name}", stream.topic)
        ingest = Ingest(name, stream, runtime.lakehouse, checkpoint, address)
        ingest.prepare()
        ingests.append(ingest)
        _log.info("%s: topic %s, %d partition(s)", name, stream.topic, partitions)
    for ingest, counts in follow(ingests, config.ingest):
        _log.info(
            "%s: read %d = %d good + %d quarantined; %s is at version %d",
            ingest.name,
            counts.read,
            counts.good,
            counts.quarantined,
            ingest.stream.table,
            runtime.lakehouse.version(ingest.stream.table),
        )


if __name__ == "__main__":
    sys.exit(run_job("ingest_events", run))
