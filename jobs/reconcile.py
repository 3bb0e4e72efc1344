"""Checks that the tables account for every offset that the streams have read."""

import logging
import sys

from matchlake.errors import ReconciliationError
from matchlake.lakehouse.stream_operations import reconcile_streams
from matchlake.runtime import Flag, Runtime, run_job

_log = logging.getLogger("matchlake.reconcile")

FLAGS = (Flag("--stream", "reconcile.streams", "STREAM", "a stream to check; default: all"),)


def run(runtime: Runtime) -> None:
    """Reconciles the chosen streams; raises ReconciliationError if one does not reconcile."""
    config, failed = runtime.config, []
    lakehouse, secrets = runtime.lakehouse, runtime.secrets
    for report in reconcile_streams(config, lakehouse, secrets, config.reconcile):
        if report.is_reconciled:
            _log.info("%s", report.text)
        else:
            _log.error("%s", report.text)
            failed.append(report.stream)
    if failed:
        raise ReconciliationError(f"Not reconciled: {', '.join(failed)}.")


if __name__ == "__main__":
    sys.exit(run_job("reconcile", run, flags=FLAGS))
