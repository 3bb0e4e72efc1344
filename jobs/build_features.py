"""Builds the gold feature tables of users and items, and their fitted states."""

import logging
import sys

from matchlake.lakehouse.feature_build import build_feature_table, report_unknown
from matchlake.lakehouse.views import publish_views
from matchlake.runtime import Runtime, run_job
from matchlake.schemas import INTERACTIONS

_log = logging.getLogger("matchlake.build_features")


def run(runtime: Runtime) -> None:
    """Writes each gold feature table and its fitted state."""
    lake, params = runtime.lakehouse, runtime.config.features
    interactions = lake.read(INTERACTIONS.name) if lake.exists(INTERACTIONS.name) else None
    for table in params.tables.values():
        has_rows = lake.exists(table.source) and lake.read(table.source).head(1)
        if not table.required and not has_rows:
            _log.warning("%s is left out: %s has no rows", table.table, table.source)
            continue
        model = build_feature_table(lake, table, params.folder, params.engine)
        if interactions is not None:
            report_unknown(interactions, lake.read(table.source), model.keys)
    publish_views(lake, runtime.config)


if __name__ == "__main__":
    sys.exit(run_job("build_features", run))
