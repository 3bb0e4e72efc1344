"""Lake files -> bronze: the last row of each key by MERGE, bad rows into the lake quarantine.

Each file is loaded once, and again when it has changed; a ledger says what became of it.
"""

import logging
import sys
from datetime import UTC, datetime

from matchlake.ingest.files.loader import lake_folder, lake_load
from matchlake.runtime import Flag, Runtime, run_job

_log = logging.getLogger("matchlake.load_lake")


WAYS = (Flag("--reload", "lake.reload", "SOURCE", "loads all files of the source anew"),)


def run(runtime: Runtime) -> None:
    """Loads what is new of every declared source, each row read good or quarantined."""
    lake = runtime.config.lake
    folder = lake_folder(lake, runtime.config.lakehouse)
    now = datetime.now(UTC).isoformat()
    for name, source in lake.sources.items():
        load = lake_load(name, lake, folder, runtime.config.checkpoints, runtime.lakehouse)
        counts = load.load(now, reload=name in lake.reload)
        _log.info(
            "%s: read %d = %d good + %d quarantined from %d file(s), %d corrupt; %d keys into %s",
            name,
            counts.read,
            counts.good,
            counts.quarantined,
            counts.files,
            counts.corrupt,
            counts.keys,
            source.table,
        )


if __name__ == "__main__":
    sys.exit(run_job("load_lake", run, flags=WAYS))
