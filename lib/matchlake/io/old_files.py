"""Removal of files that no version of a Delta table needs, at once or by age.

A VACUUM by age lists the folder. The folder also holds files of writes that have not committed,
so the age must be longer than any write. `VACUUM ... LITE` lists no folder: it removes the files
that commits in the log of the table have removed. No commit names a file of an uncommitted write,
so LITE never removes one, at any age.
"""

import logging
import math

from py4j.protocol import Py4JError
from pyspark.errors import PySparkException

from matchlake.io.delta import Lakehouse
from matchlake.io.delta_properties import read_properties
from matchlake.io.session_settings import temporary_settings

_log = logging.getLogger(__name__)

RETENTION = "delta.deletedFileRetentionDuration"
"""The property with the time for which a table keeps removed files."""
MIN_HOURS = 1.0
"""The minimum age of a VACUUM by age: a younger file may belong to a running write."""

_WEEK = "interval 1 week"
_CHECK = "spark.databricks.delta.retentionDurationCheck.enabled"
_LOG_CLEANED = "DELTA_CANNOT_VACUUM_LITE"


def retention_hours(lake: Lakehouse, table: str) -> float:
    """The hours for which the table keeps removed files."""
    retention = read_properties(lake, table).get(RETENTION, _WEEK).lower().removeprefix("interval ")
    query = f"SELECT unix_seconds(timestamp_seconds(0) + INTERVAL {retention}) / 3600"
    return float(lake.spark.sql(query).collect()[0][0])


def vacuum(lake: Lakehouse, table: str, hours: float | None = None) -> None:
    """Removes the files that no version of the last `hours` needs, and those of failed writes.

    If `hours` is None, the retention of the table holds. Delta rounds hours; here they are rounded
    up.
    """
    retention = "" if hours is None else f" RETAIN {math.ceil(hours)} HOURS"
    lake.spark.sql(f"VACUUM {lake.name(table)}{retention}")


def remove_old_files(lake: Lakehouse, table: str) -> float:
    """Removes every file that a commit has removed; the retention of the table does not change.

    Running writes keep their files. Returns 0. If it is not possible, it logs the cause, removes
    files older than the retention, and returns those hours, at least MIN_HOURS. Files of failed
    writes, which no commit names, stay until a VACUUM by age.
    """
    cause = _remove_at_once(lake, table)
    if cause is None:
        return 0
    retention = retention_hours(lake, table)
    hours = max(retention, MIN_HOURS)
    if retention == hours:  # newer versions of Delta ignore RETAIN and use the property
        vacuum(lake, table)
    # After a VACUUM by age Delta knows the first commit of the log to read.
    if cause == _LOG_CLEANED and _remove_at_once(lake, table) is None:
        return 0
    _log.warning(
        "%s: old files cannot be removed now (%s). maintain_tables removes them when they are "
        "%g hours old; until then older versions can be read.",
        *(table, cause, hours),
    )
    return hours


def _remove_at_once(lake: Lakehouse, table: str) -> str | None:
    """Removes the files; returns the cause if it is not possible."""
    try:
        with temporary_settings(lake.spark, {_CHECK: "false"}) as possible:
            if not possible:
                return f"this session cannot set {_CHECK}"
            lake.spark.sql(f"VACUUM {lake.name(table)} LITE RETAIN 0 HOURS")
    except (PySparkException, Py4JError) as error:
        if _LOG_CLEANED not in str(error):
            raise
        return _LOG_CLEANED
    return None
