"""Lake files -> bronze: the last row of each key by MERGE, bad rows into the lake quarantine."""

import logging
import sys
from datetime import UTC, datetime

from matchlake.io.lake import LakeLoad, lake_folder
from matchlake.runtime import Runtime, run_job

_log = logging.getLogger("matchlake.load_lake")


def run(runtime: Runtime) -> None:
    """Loads every declared source, and checks of each that read = good + quarantined."""
    lake = runtime.config.lake
    folder = lake_folder(lake, runtime.config.lakehouse)
    now = datetime.now(UTC).isoformat()
    for name, source in lake.sources.items():
        counts = LakeLoad(name, source, folder, lake.quarantine, runtime.lakehouse).load(now)
        _log.info(
            "%s: read %d = %d good + %d quarantined from %d file(s); %d keys now in %s",
            name,
            counts.read,
            counts.good,
            counts.quarantined,
            counts.files,
            counts.keys,
            source.table,
        )


if __name__ == "__main__":
    sys.exit(run_job("load_lake", run))
