"""Applies the grants and tags of conf/grants.sql to the existing tables and views."""

import sys

from matchlake.lakehouse.grants import apply_rules
from matchlake.runtime import Runtime, run_job


def run(runtime: Runtime) -> None:
    """Applies grants and tags; local Spark has neither, so there they are only checked."""
    apply_rules(runtime.lakehouse, runtime.config.conf_dir / "grants.sql")


if __name__ == "__main__":
    sys.exit(run_job("apply_grants", run))
