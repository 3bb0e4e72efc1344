"""Marks of erasures that are running or were interrupted, as properties of their tables.

A mark does not name the user: it holds the time and one byte of the hash, which one in 256
users shares. Because of the byte, an erasure does not clear the mark of another user.
"""

import hashlib
import logging
from collections.abc import Iterable
from datetime import UTC, datetime

from matchlake.io.delta import Lakehouse
from matchlake.io.delta_properties import read_properties, set_properties
from matchlake.schemas import quote_text

_log = logging.getLogger(__name__)

_PENDING = "matchlake.erasure_pending."


def mark_erasure(lake: Lakehouse, table: str, user: str) -> None:
    """Marks the table, in one commit; an older mark of the same user stays as it is."""
    if _mark(user) not in read_properties(lake, table):
        now = datetime.now(UTC).isoformat(timespec="seconds")
        set_properties(lake, table, {_mark(user): now})


def clear_erasure(lake: Lakehouse, table: str, user: str) -> None:
    """Removes the mark of the user, in one commit."""
    mark = quote_text(_mark(user))
    lake.spark.sql(f"ALTER TABLE {lake.name(table)} UNSET TBLPROPERTIES IF EXISTS ({mark})")


def pending_erasure(lake: Lakehouse, table: str) -> str | None:
    """The message for an incomplete erasure of the table, with instructions; None without one."""
    properties = read_properties(lake, table)
    times = sorted(properties[key] for key in properties if key.startswith(_PENDING))
    if not times:
        return None
    return (
        f"{table}: the erasure of a user was begun at {', '.join(times)} and is not complete. "
        "Unless it is still running, complete it: matchlake erase-user USER, with the same user."
    )


def warn_of_erasures(lake: Lakehouse, tables: Iterable[str]) -> None:
    """Logs a warning for each of the tables with an erasure that is not complete."""
    for table in tables:
        message = pending_erasure(lake, table)
        if message:
            _log.warning(message)


def _mark(user: str) -> str:
    return _PENDING + hashlib.sha256(user.encode()).hexdigest()[:2]
