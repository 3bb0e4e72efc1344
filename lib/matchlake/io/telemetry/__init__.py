"""Metrics, traces and logs of jobs, sent in the background; no endpoint can change a job.

Every package above `io` may call `count`, `observe`, `set_level` and `step`. They do nothing until
`reporting_to` has started the export, which only `run_job` does.
"""

from matchlake.io.telemetry.recorder import count, observe, set_level, step
from matchlake.io.telemetry.session import reporting_to

__all__ = ["count", "observe", "reporting_to", "set_level", "step"]
