"""Restores earlier versions of Delta tables, and appends rows once per transaction number."""

from collections.abc import Mapping

from py4j.protocol import Py4JError
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame

from matchlake.io.delta import WRITTEN_BY_ANOTHER, Lakehouse, is_gone, retry_conflicts
from matchlake.schemas import TableSpec, quote_identifier

_CONFLICTS = (*WRITTEN_BY_ANOTHER, "DELTA_CONCURRENT_WRITE", "DELTA_METADATA_CHANGED")
_TAKEN = "DELTA_CONCURRENT_TRANSACTION"
"""Delta's error for a number that another run takes at the same moment."""


def restore_version(lake: Lakehouse, table: str, version: int) -> bool:
    """Restores the rows and columns of a version. Returns False if its files no longer exist.

    The commit writes no rows. The table keeps its transaction numbers.
    """
    restore = f"RESTORE TABLE {lake.name(table)} TO VERSION AS OF {int(version)}"
    try:
        retry_conflicts(lambda: lake.spark.sql(restore).collect(), _CONFLICTS, table)
    except (PySparkException, Py4JError) as error:
        if not is_gone(error):
            raise
        return False
    return True


def append_numbered(
    lake: Lakehouse, frame: DataFrame, spec: TableSpec, transaction: tuple[str, int]
) -> None:
    """Appends rows under a transaction id and number; Delta takes each number of an id once.

    Delta skips the rows without an error if the number is not greater than the newest one.
    """
    lake.create(spec)
    writer = lake.rows_of(frame, spec).write.format("delta").mode("append")
    writer = writer.option("txnAppId", transaction[0]).option("txnVersion", str(transaction[1]))
    try:
        writer.saveAsTable(lake.name(spec.name))
    except (PySparkException, Py4JError) as error:
        if _TAKEN not in str(error):
            raise


def update_rows(lake: Lakehouse, table: str, assignments: Mapping[str, str], where: str) -> None:
    """Sets columns of the rows that fulfil a condition; values and condition are SQL."""
    pairs = ", ".join(f"{quote_identifier(name)} = {value}" for name, value in assignments.items())
    update = f"UPDATE {lake.name(table)} SET {pairs} WHERE {where}"
    retry_conflicts(lambda: lake.spark.sql(update).collect(), _CONFLICTS, table)
