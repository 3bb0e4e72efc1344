"""Lake files -> bronze: the last valid row per key by MERGE; other rows are quarantined.

Each file is loaded once, and again if it has changed; the log of files has its status. A source or
file that fails does not keep the others from loading; the job then fails at its end.
"""

import logging
import sys
from datetime import UTC, datetime

from matchlake.ingest.files.failures import SourceFailures
from matchlake.ingest.files.loader import lake_folder, lake_load
from matchlake.runtime import Flag, Runtime, run_job

_log = logging.getLogger("matchlake.load_lake")


FLAGS = (Flag("--reload", "lake.reload", "SOURCE", "loads all files of the source again"),)


def run(runtime: Runtime) -> None:
    """Loads new files of every declared source; every row is valid or quarantined."""
    lake = runtime.config.lake
    folder = lake_folder(lake, runtime.config.lakehouse)
    now = datetime.now(UTC).isoformat()
    failures = SourceFailures()
    for name, source in lake.sources.items():
        load = lake_load(name, lake, folder, runtime.config.checkpoints, runtime.lakehouse)
        with failures.kept(name):
            counts = load.load(now, reload=name in lake.reload)
            failures.refuse(name, counts.refused)
            _log.info(
                "%s: read %d = %d valid + %d quarantined from %d file(s), %d corrupt; %d keys"
                " into %s",
                name,
                counts.read,
                counts.valid,
                counts.quarantined,
                counts.files,
                counts.corrupt,
                counts.keys,
                source.table,
            )
    failures.raise_kept()


if __name__ == "__main__":
    sys.exit(run_job("load_lake", run, flags=FLAGS))
