"""Describes tables: the distribution of each column as a table and pictures, and what moved."""

import logging
import sys

from py4j.protocol import Py4JError
from pyspark.errors import PySparkException
from pyspark.sql import functions as F

from matchlake.io.delta import is_gone
from matchlake.io.mlflow_tracking import Run
from matchlake.profiling.drift import drift
from matchlake.profiling.plots import draw_column
from matchlake.profiling.profile import DESCRIPTIONS, DRIFT, describe, described_before
from matchlake.runtime import Runtime, run_job

_log = logging.getLogger("matchlake.describe_tables")


def run(runtime: Runtime) -> None:
    """Writes gold.descriptions and gold.drift, and logs the pictures to one run."""
    tables = runtime.config.describe.tables
    with runtime.tracker.run("describe_tables") as tracked:
        for table in tables:
            describe_table(runtime, table, tracked)


def describe_table(runtime: Runtime, table: str, tracked: Run) -> None:
    """Describes the table's current version, and its drift from the one described before."""
    lake, params = runtime.lakehouse, runtime.config.describe
    version = lake.version(table)
    this = {"table_name": table, "version": version}
    mark = {name: F.lit(value) for name, value in this.items()}
    frame = lake.read(table, version)
    known = lake.read(DESCRIPTIONS.name) if lake.exists(DESCRIPTIONS.name) else None
    before = described_before(known, table, version) if known is not None else None
    lake.replace_where(describe(frame, params).withColumns(mark), DESCRIPTIONS, this)
    if before is not None and not write_drift(runtime, table, before, version):
        _log.warning("%s: version %d is vacuumed: nothing to compare with", table, before)
        before = None
    tracked.log_input(table, version)
    rows = lake.read(DESCRIPTIONS.name).where(f"table_name = '{table}' AND version = {version}")
    for column, found in rows.toPandas().groupby("column_name"):
        figure = draw_column(found, f"{table}.{column}")
        tracked.log_figure(figure, f"descriptions/{table}/{column}.png")
    _log.info("%s version %d described, compared with version %s", table, version, before)


def write_drift(runtime: Runtime, table: str, before: int, version: int) -> bool:
    """Writes how the table moved between two versions; False where the earlier one is gone."""
    lake, this = runtime.lakehouse, {"table_name": table, "version": version}
    mark = {name: F.lit(value) for name, value in (this | {"before_version": before}).items()}
    try:
        frames = lake.read(table, before), lake.read(table, version)
        moved = drift(*frames, runtime.config.describe.bins)
        lake.replace_where(moved.withColumns(mark), DRIFT, this)
    except (PySparkException, Py4JError) as error:
        if not is_gone(error):
            raise
        return False
    return True


if __name__ == "__main__":
    sys.exit(run_job("describe_tables", run))
