"""Profiles tables: distributions of columns, drift since the last profile, and plots."""

import logging
import sys
from datetime import UTC, datetime

from py4j.protocol import Py4JError
from pyspark.errors import PySparkException
from pyspark.sql import functions as F

from matchlake.io.delta import is_gone
from matchlake.io.mlflow_tracking import Run
from matchlake.profiling.drift import drift
from matchlake.profiling.plots import draw_column
from matchlake.profiling.profile import COLUMN_PROFILES, DRIFT, profile, profiled_before
from matchlake.runtime import Runtime, run_job

_log = logging.getLogger("matchlake.profile_tables")


def run(runtime: Runtime) -> None:
    """Writes gold.column_profiles and gold.drift, and logs the plots to one run."""
    tables = runtime.config.profile.tables
    name = f"profile_tables {datetime.now(UTC):%Y-%m-%d %H:%M}"
    about = f"Distributions of the columns of {', '.join(tables)}, one picture per column."
    with runtime.tracker.run(name, about) as tracked:
        for table in tables:
            profile_table(runtime, table, tracked)


def profile_table(runtime: Runtime, table: str, tracked: Run) -> None:
    """Profiles the table's current version, and its drift since the version profiled before."""
    lake, params = runtime.lakehouse, runtime.config.profile
    version = lake.version(table)
    this = {"table_name": table, "version": version}
    mark = {name: F.lit(value) for name, value in this.items()}
    frame = lake.read(table, version)
    known = lake.read(COLUMN_PROFILES.name) if lake.exists(COLUMN_PROFILES.name) else None
    before = profiled_before(known, table, version) if known is not None else None
    lake.replace_where(profile(frame, params).withColumns(mark), COLUMN_PROFILES, this)
    if before is not None and not write_drift(runtime, table, before, version):
        _log.warning("%s: version %d was vacuumed, so no drift is computed", table, before)
        before = None
    tracked.log_input(table, version)
    rows = lake.read(COLUMN_PROFILES.name).where(f"table_name = '{table}' AND version = {version}")
    for column, found in rows.toPandas().groupby("column_name"):
        figure = draw_column(found, f"{table}.{column}")
        tracked.log_figure(figure, f"column_profiles/{table}/{column}.png")
    _log.info("%s version %d profiled, compared with version %s", table, version, before)


def write_drift(runtime: Runtime, table: str, before: int, version: int) -> bool:
    """Writes the drift between two versions; returns False if the earlier version is gone."""
    lake, this = runtime.lakehouse, {"table_name": table, "version": version}
    mark = {name: F.lit(value) for name, value in (this | {"before_version": before}).items()}
    try:
        frames = lake.read(table, before), lake.read(table, version)
        moved = drift(*frames, runtime.config.profile.bins)
        lake.replace_where(moved.withColumns(mark), DRIFT, this)
    except (PySparkException, Py4JError) as error:
        if not is_gone(error):
            raise
        return False
    return True


if __name__ == "__main__":
    sys.exit(run_job("profile_tables", run))
