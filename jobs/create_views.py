"""Creates or renews the analysts' views over the existing tables in the catalog."""

import logging
import sys

from matchlake.lakehouse.views import create_views
from matchlake.runtime import Runtime, run_job

_log = logging.getLogger("matchlake.create_views")


def run(runtime: Runtime) -> None:
    """Creates every view that has its tables; without a catalog they last for the session."""
    made = create_views(runtime.lakehouse, runtime.config)
    _log.info("%d view(s): %s", len(made), ", ".join(made))


if __name__ == "__main__":
    sys.exit(run_job("create_views", run))
