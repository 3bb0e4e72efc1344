"""Parses the quarantined records of one stream again, with the columns that conf declares now."""

import logging
import sys

from matchlake.lakehouse.stream_operations import replay_quarantine
from matchlake.runtime import Flag, Runtime, run_job

_log = logging.getLogger("matchlake.replay_quarantine")

FLAGS = (
    Flag("--stream", "replay.stream", "STREAM", "the stream", single=True),
    Flag("--error-code", "replay.error_codes", "CODE", "only records with this error code"),
    Flag(
        "--since",
        "replay.since",
        "TIME",
        "only records of Kafka from then on",
        single=True,
    ),
    Flag("--fix", "replay.fix", "SQL", "expression of the text to parse instead", single=True),
)


def run(runtime: Runtime) -> None:
    """Makes records that are valid now valid rows in one commit, then reconciles the stream."""
    config = runtime.config
    for line in replay_quarantine(config, runtime.lakehouse, runtime.secrets, config.replay):
        _log.info("%s", line)


if __name__ == "__main__":
    sys.exit(run_job("replay_quarantine", run, flags=FLAGS))
