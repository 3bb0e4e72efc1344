"""Kafka -> bronze: every declared stream into its Delta table, each record exactly once.

Good and bad records of a batch are one append; views tell them apart. Reads what is there and
ends; with `--set ingest.trigger="10 seconds"` it goes on until it is stopped.
"""

import logging
import sys

from matchlake.ingest.streams.audit import Ledger
from matchlake.ingest.streams.checkpoint import Checkpoint
from matchlake.ingest.streams.progress import reporting
from matchlake.ingest.streams.runner import Ingest, Prepared, chosen_streams, follow
from matchlake.io.brokers import configured_broker
from matchlake.io.erasure_marks import warn_of_erasures
from matchlake.io.kafka import require_topic
from matchlake.runtime import Flag, Runtime, run_job

_log = logging.getLogger("matchlake.ingest_events")

WAYS_OUT = (
    Flag("--adopt", "ingest.adopt", "STREAM", "goes on after what it read last, gaps accepted"),
    Flag("--rewind-to", "ingest.rewind_to", "STREAM=BATCH", "reads again from this batch on"),
    Flag("--new-identity", "ingest.new_identity", "STREAM", "begins anew at the first record"),
)


def prepare(runtime: Runtime) -> list[Prepared]:
    """The chosen streams, each with its topic, table and checkpoint found to belong together."""
    config = runtime.config
    broker = configured_broker(config.kafka, config.lakehouse, runtime.secrets)
    streams = []
    for name, stream in chosen_streams(config.streams, config.ingest).items():
        partitions = require_topic(broker, stream.topic, config.kafka.timeout_seconds)
        checkpoint = Checkpoint(runtime.spark, f"{config.checkpoints}/{name}", stream.topic)
        ledger = Ledger(name, stream, config.ingest.ledger, runtime.lakehouse)
        ingest = Ingest(name, stream, runtime.lakehouse, checkpoint, ledger, broker)
        streams.append(ingest.prepare(config.ingest))
        _log.info("%s: topic %s, %d partition(s)", name, stream.topic, partitions)
        warn_of_erasures(runtime.lakehouse, [stream.table])
    return streams


def run(runtime: Runtime) -> None:
    """Reads the chosen streams, and accounts for each offset: good, quarantined or a gap."""
    streams = prepare(runtime)
    with reporting(runtime.spark, runtime.config.lakehouse):
        for each, counts in follow(streams, runtime.config.ingest):
            _log.info(
                "%s: read %d = %d good + %d quarantined, %d without a record; %s is at version %d",
                each.name,
                counts.good + counts.quarantined,
                counts.good,
                counts.quarantined,
                counts.gaps,
                each.stream.table,
                runtime.lakehouse.version(each.stream.table),
            )


if __name__ == "__main__":
    sys.exit(run_job("ingest_events", run, flags=WAYS_OUT))
