"""Checks what the jobs need in a workspace, and logs the results as a table; changes nothing.

What the checks make has a name that begins with `smoke_`, and is removed again. The job fails at
its end if a check does not hold.
"""

import logging
import sys
import uuid

from matchlake.lakehouse.smoke import outcome_table, require_all, try_workspace
from matchlake.lakehouse.smoke_checks import Workspace
from matchlake.runtime import Runtime, run_job

_log = logging.getLogger("matchlake.smoke")


def run(runtime: Runtime) -> None:
    """Runs all checks, logs the results, and raises WorkspaceError if a check fails."""
    scratch = f"smoke_{uuid.uuid4().hex[:8]}"
    parts = runtime.config, runtime.lakehouse, runtime.secrets, runtime.tracker
    outcomes = try_workspace(Workspace(*parts, scratch))
    _log.info("%s\n%s", scratch, outcome_table(outcomes))
    require_all(outcomes)


if __name__ == "__main__":
    sys.exit(run_job("smoke", run))
