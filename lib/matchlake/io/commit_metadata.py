"""User metadata in the commits of SQL commands, for which Delta has settings and no options."""

import uuid
from collections.abc import Callable
from typing import TypeVar

from matchlake.io.delta import Lakehouse
from matchlake.io.session_settings import temporary_settings

T = TypeVar("T")

_METADATA = "spark.databricks.delta.commitInfo.userMetadata"
_TRANSACTION_ID = "spark.databricks.delta.write.txnAppId"
_TRANSACTION_NUMBER = "spark.databricks.delta.write.txnVersion"


def commit_settings(metadata: str, transaction: tuple[str, int] | None = None) -> dict[str, str]:
    """The settings with which SQL commands commit: user metadata, and id and number of Delta.

    Delta takes each number of an id once: it skips a command without an error, if its number is not
    greater than the newest one. Of two commands that run at once, one fails.
    """
    settings = {_METADATA: metadata}
    if transaction:
        settings |= {_TRANSACTION_ID: transaction[0], _TRANSACTION_NUMBER: str(transaction[1])}
    return settings


def commit_with(lake: Lakehouse, table: str, metadata: str, command: Callable[[], T]) -> T:
    """Runs a command with the metadata in its commit, and returns its result.

    If the platform refuses settings of a session, a commit without rows follows and carries it.
    """
    with temporary_settings(lake.spark, commit_settings(metadata)) as in_one_commit:
        result = command()
    if not in_one_commit:
        append_metadata(lake, table, metadata, (uuid.uuid4().hex, 0))
    return result


def append_metadata(
    lake: Lakehouse, table: str, metadata: str, transaction: tuple[str, int]
) -> None:
    """Makes a commit without rows that carries the metadata.

    Delta leaves out a commit without rows, unless it has a transaction.
    """
    empty = lake.read(table).limit(0)
    writer = empty.write.format("delta").mode("append").option("userMetadata", metadata)
    writer = writer.option("txnAppId", transaction[0]).option("txnVersion", str(transaction[1]))
    writer.saveAsTable(lake.name(table))
