"""What a Delta table's history says of the batches that went into it."""

import json
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from pyspark.sql import SparkSession

INGEST = "matchlake_ingest"
"""The key of what the product says of a batch in its commit's user metadata."""

FENCE = "fence"
"""The key of the commit that fences a checkpoint generation: no batch of it is taken any more."""
FENCED = 2**62
"""The mark that it sets: greater than the number of any batch."""

_AT_ONCE = 10
_REPLACING = ("RESTORE", "CLONE", "TRUNCATE")


class Commit(NamedTuple):
    """One commit of a table."""

    version: int
    at: datetime
    operation: str
    parameters: Mapping[str, str]
    rows: int | None
    """How many rows it added, where its metrics say so."""
    told: Mapping[str, Any]
    """What the product said of it; empty for those that are not its own."""

    @property
    def judged(self) -> int:
        """Up to which version its writer had looked at the history; its own where not told."""
        return int(self.told.get("judged", self.version))

    @property
    def generation(self) -> int | None:
        """The checkpoint generation that it belongs to; None for those not the product's own."""
        return self.told.get("generation")

    @property
    def batch(self) -> int | None:
        """The number of its batch; None where it is not that of a batch."""
        return self.told.get("batch")

    @property
    def offsets(self) -> dict[int, tuple[int, int]]:
        """For each partition of its batch, the first offset and the one after the last."""
        ranges = self.told.get("offsets", {}).items()
        return {int(part): (first, end) for part, (first, end) in ranges}

    @property
    def undone(self) -> dict[int, int]:
        """Checkpoints whose batches from that number on do not count any more."""
        return {int(each): batch for each, batch in self.told.get("undone", {}).items()}

    @property
    def replaces(self) -> bool:
        """Whether it may have taken rows away from the table without saying which."""
        overwrites = self.parameters.get("mode") == "Overwrite" and "ADD" not in self.operation
        replaced = "REPLACE TABLE" in self.operation
        return self.operation in _REPLACING or replaced or overwrites

    def __str__(self) -> str:
        """The commit as a message names it."""
        to = self.parameters.get("version") if self.operation == "RESTORE" else None
        back = f" to version {to}" if to else ""
        return f"{self.operation}{back} (version {self.version}, {self.at:%Y-%m-%d %H:%M:%S})"


def mark_of(stream: str, generation: int) -> str:
    """The name under which Delta keeps the newest batch of a checkpoint generation.

    Delta skips a batch that is not greater, without an error. Of two writers that began at one
    version and set one mark it lets one win.
    """
    return f"{INGEST}/{stream}/{generation}"


def commits(spark: SparkSession, table: str, at_once: int = _AT_ONCE) -> Iterator[Commit]:
    """The commits of a table, by its full name, newest first; reads as many as are asked for.

    It asks for `at_once` at first, and then for ten times as many.
    """
    count, before = at_once, None
    while True:
        # Not a column is selected: what a command gives is there, a query of it would be a job.
        rows = spark.sql(f"DESCRIBE HISTORY {table} LIMIT {count}").collect()
        for row in rows:
            if before is None or row.version < before:
                before = row.version
                yield _commit(row)
        if len(rows) < count:
            return
        count *= 10


def table_id(spark: SparkSession, table: str) -> str:
    """The id that Delta gave the table when it was made or replaced."""
    return str(spark.sql(f"DESCRIBE DETAIL {table}").collect()[0].id)


def _commit(row: Any) -> Commit:
    metrics = row.operationMetrics or {}
    rows = metrics.get("numOutputRows")
    return Commit(
        row.version,
        row.timestamp,
        row.operation,
        row.operationParameters or {},
        None if rows is None else int(rows),
        _told(row.userMetadata),
    )


def _told(metadata: str | None) -> dict[str, Any]:
    try:
        told = json.loads(metadata or "{}")
    except ValueError:
        return {}
    found = told.get(INGEST) if isinstance(told, dict) else None
    return found if isinstance(found, dict) else {}
