"""Bronze -> silver: the good records of streams, each event once, and whether it came late.

Merges what bronze gained since the last time. `--rebuild-from 2024-05-01 --until 2024-06-01` makes
the events of a range of time anew from bronze, with the same result.
"""

import logging
import sys

from matchlake.ingest.silver import cleanings
from matchlake.ingest.silver_merge import Clean
from matchlake.runtime import Flag, Runtime, run_job

_log = logging.getLogger("matchlake.clean_events")

RANGE = (
    Flag("--rebuild-from", "silver.rebuild_from", "TIME", "where to begin anew", single=True),
    Flag("--until", "silver.until", "TIME", "the end of what is made anew", single=True),
)


def run(runtime: Runtime) -> None:
    """Brings every declared silver table in step with bronze, or makes a range of it anew."""
    silver = runtime.config.silver
    for name, cleaning in cleanings(silver, runtime.config.streams).items():
        clean = Clean(cleaning, runtime.lakehouse)
        if silver.rebuild_from and silver.until:
            counts = clean.rebuild(silver.rebuild_from, silver.until)
        elif (caught := clean.catch_up()) is not None:
            counts = caught
        else:
            _log.info("%s: nothing new in %s", name, cleaning.stream.table)
            continue
        _log.info(
            "%s%s: %d good record(s), %d of them late = %d event(s) + %d repeated",
            name,
            ", made anew" if counts.anew else "",
            counts.good,
            counts.late,
            counts.new,
            counts.repeated,
        )


if __name__ == "__main__":
    sys.exit(run_job("clean_events", run, flags=RANGE))
