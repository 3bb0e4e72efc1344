"""Describes tables: the distribution of each column as a table and pictures, and what moved."""

import logging
import sys

from pyspark.sql import functions as F

from matchlake.features.charts import draw_column
from matchlake.features.describe import DESCRIPTIONS, DRIFT, describe, described_before
from matchlake.features.drift import drift
from matchlake.io.tracking import Run
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
    lake.replace_part(describe(frame, params).withColumns(mark), DESCRIPTIONS, this)
    if before is not None:
        moved = drift(lake.read(table, before), frame, params.bins)
        mark["before_version"] = F.lit(before)
        lake.replace_part(moved.withColumns(mark), DRIFT, this)
    tracked.log_input(table, version)
    rows = lake.read(DESCRIPTIONS.name).where(f"table_name = '{table}' AND version = {version}")
    for column, found in rows.toPandas().groupby("column_name"):
        figure = draw_column(found, f"{table}.{column}")
        tracked.log_figure(figure, f"descriptions/{table}/{column}.png")
    _log.info("%s version %d described, compared with version %s", table, version, before)


if __name__ == "__main__":
    sys.exit(run_job("describe_tables", run))
