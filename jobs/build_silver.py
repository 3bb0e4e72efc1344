"""Bronze -> silver: each event of a stream once, and the interactions of users and items.

Merges what bronze gained since the last run, then builds silver.interactions from the merged
tables. `--rebuild-from 2024-05-01 --until 2024-06-01` rebuilds the events of a range of time from
bronze, and the interactions after them.
"""

import logging
import sys

from matchlake.ingest.interactions import interactions_spec
from matchlake.ingest.interactions_build import build_interactions
from matchlake.ingest.silver import silver_specs
from matchlake.ingest.silver_merge import SilverMerge
from matchlake.lakehouse.views import publish_views
from matchlake.runtime import Flag, Runtime, run_job
from matchlake.schemas import INTERACTIONS

_log = logging.getLogger("matchlake.build_silver")

RANGE = (
    Flag("--rebuild-from", "silver.rebuild_from", "TIME", "start of the range", single=True),
    Flag("--until", "silver.until", "TIME", "its end, exclusive", single=True),
)


def run(runtime: Runtime) -> None:
    """Brings every silver table up to date with bronze, or rebuilds a range of it."""
    config, lakehouse = runtime.config, runtime.lakehouse
    for name, spec in silver_specs(config.silver, config.streams).items():
        merge = SilverMerge(spec, lakehouse, config.ingest.batch_log)
        if config.silver.rebuild_from and config.silver.until:
            counts = merge.rebuild(config.silver.rebuild_from, config.silver.until)
        elif (merged := merge.catch_up()) is not None:
            counts = merged
        else:
            _log.info("%s: nothing new in %s", name, spec.stream.table)
            continue
        _log.info(
            "%s%s: %d valid record(s), %d of them late = %d event(s) + %d repeated%s",
            name,
            ", rebuilt" if counts.rebuilt else "",
            counts.valid,
            counts.late,
            counts.new,
            counts.repeated,
            f" + {counts.deletes} delete(s)" if spec.stream.has_deletes else "",
        )
        for rule, action, records in counts.broken:
            _log.warning("%s: %d record(s) break rule %s (%s)", name, records, rule, action)
    interactions = interactions_spec(config.silver, config.streams)
    if interactions and (rows := build_interactions(interactions, lakehouse)) is not None:
        sources = ", ".join(interactions.sources)
        _log.info("%s: %d row(s) from %s", INTERACTIONS.name, rows, sources)
        publish_views(lakehouse, config)


if __name__ == "__main__":
    sys.exit(run_job("build_silver", run, flags=RANGE))
