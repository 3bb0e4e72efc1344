"""Kafka -> features and model -> Kafka: scores each event, in real time or micro-batches.

Each record of the output has topic, partition and offset of its event. Declared as a stream with
these as its keys, `build_silver` keeps each event once. The job runs until it is stopped; with
`--set score_events.trigger=available_now` it ends with what the topics hold.
"""

import logging
import sys

from matchlake.io.brokers import configured_broker
from matchlake.lakehouse.event_streams import EventStreams, run_streams
from matchlake.runtime import Flag, Runtime, run_job

_log = logging.getLogger("matchlake.score_events")

FLAGS = (Flag("--name", "score_events.names", "NAME", "a stream of score_events.streams"),)


def run(runtime: Runtime) -> None:
    """Scores the chosen streams. Refuses all before any starts if one of them cannot run."""
    config = runtime.config
    if not config.score_events.chosen_streams:
        _log.info("nothing to score: conf declares no stream (score_events.streams)")
        return
    broker = configured_broker(config.kafka, config.lakehouse, runtime.secrets)
    run_streams(EventStreams(config, runtime.lakehouse, runtime.tracker, broker).prepare())


if __name__ == "__main__":
    sys.exit(run_job("score_events", run, flags=FLAGS))
