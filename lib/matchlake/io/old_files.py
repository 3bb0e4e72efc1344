"""Removal of files that no version of a Delta table needs any more, at once or in time.

A VACUUM by age lists the folder. Its files include those of writes that have not committed yet,
so its age must be longer than any write. `VACUUM ... LITE` does not list: it takes the files that
commits of the table's log have removed. A file of a write that has not committed is in no commit,
so LITE never removes one, at any age.
"""

import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager

from py4j.protocol import Py4JError
from pyspark.errors import PySparkException

from matchlake.io.delta import Lakehouse
from matchlake.io.delta_properties import read_properties

_log = logging.getLogger(__name__)

KEPT = "delta.deletedFileRetentionDuration"
"""The property that says how long a table keeps removed files."""
LEAST_HOURS = 1.0
"""A VACUUM by age removes no younger file: a running write may not have committed it yet."""

_WEEK = "interval 1 week"
_CHECK = "spark.databricks.delta.retentionDurationCheck.enabled"
_LOG_CLEANED = "DELTA_CANNOT_VACUUM_LITE"


def kept_hours(lake: Lakehouse, table: str) -> float:
    """How many hours the table keeps removed files."""
    kept = read_properties(lake, table).get(KEPT, _WEEK).lower().removeprefix("interval ")
    query = f"SELECT unix_seconds(timestamp_seconds(0) + INTERVAL {kept}) / 3600"
    return float(lake.spark.sql(query).collect()[0][0])


def vacuum(lake: Lakehouse, table: str, hours: float | None = None) -> None:
    """Removes the files that no version of the last `hours` needs, orphans of failed writes too.

    Null hours are the table's own retention. Delta rounds hours, so they are rounded up here.
    """
    kept = "" if hours is None else f" RETAIN {math.ceil(hours)} HOURS"
    lake.spark.sql(f"VACUUM {lake.name(table)}{kept}")


def remove_old_files(lake: Lakehouse, table: str) -> float:
    """Removes every file that a commit has removed; the table's retention stays as it is.

    Writes that are under way keep their files. Returns 0. Where it is not possible, the log
    says why, files older than the table's retention go, and that many hours are returned, at
    least LEAST_HOURS.
    Files of failed writes, which no commit names, always stay until a VACUUM by age.
    """
    why = _remove_at_once(lake, table)
    if why is None:
        return 0
    kept = kept_hours(lake, table)
    hours = max(kept, LEAST_HOURS)
    if kept == hours:  # RETAIN would not help: newer versions of Delta go by the table
        vacuum(lake, table)
    # After a VACUUM by age Delta knows from which commit on the log has to be read.
    if why == _LOG_CLEANED and _remove_at_once(lake, table) is None:
        return 0
    _log.warning(
        "%s: old files cannot be removed now (%s). maintain_tables removes them when they are "
        "%g hours old; until then older versions can be read.",
        *(table, why, hours),
    )
    return hours


def _remove_at_once(lake: Lakehouse, table: str) -> str | None:
    """Why it is not possible, if so."""
    try:
        with _retention_unchecked(lake) as possible:
            if not possible:
                return f"this session cannot set {_CHECK}"
            lake.spark.sql(f"VACUUM {lake.name(table)} LITE RETAIN 0 HOURS")
    except (PySparkException, Py4JError) as error:
        if _LOG_CLEANED not in str(error):
            raise
        return _LOG_CLEANED
    return None


@contextmanager
def _retention_unchecked(lake: Lakehouse) -> Iterator[bool]:
    """Within it VACUUM takes any age; false where the session's settings are fixed."""
    conf = lake.spark.conf
    before = conf.get(_CHECK, None)
    try:
        conf.set(_CHECK, "false")
    except (PySparkException, Py4JError):
        yield False
        return
    try:
        yield True
    finally:
        if before is None:
            conf.unset(_CHECK)
        else:
            conf.set(_CHECK, before)
