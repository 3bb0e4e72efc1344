"""Erases one user from bronze, quarantine, silver and gold, and from the tables' old files."""

import logging
import sys

from matchlake.errors import ReconciliationError
from matchlake.lakehouse.user_erasure import STILL_FOUND, erase_user
from matchlake.runtime import Flag, Runtime, run_job

_log = logging.getLogger("matchlake.erase_user")

FLAGS = (Flag("--user-id", "erase.user_id", "ID", "the user's user_id; required", single=True),)


def run(runtime: Runtime) -> None:
    """Erases the user and logs counts per table; no log line names the user."""
    report = erase_user(runtime.config, runtime.lakehouse, runtime.tracker, runtime.config.erase)
    for each in report.tables:
        _log.info(
            "%s: %d rows and %d quarantined records erased, %d other matches, %d rows left",
            *(each.table, each.rows, each.quarantined, each.unparsed_matches, each.left),
        )
    for place in report.places:
        _log.warning("%s %s still holds the user: %s", place.kind, place.name, place.remedy)
    for remark in report.remarks:
        _log.info("%s", remark)
    if not report.is_complete:
        raise ReconciliationError(STILL_FOUND)


if __name__ == "__main__":
    sys.exit(run_job("erase_user", run, flags=FLAGS))
