"""The history of a Delta table, and the metadata that each commit of a stream carries."""

import json
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from pyspark.sql import SparkSession

INGEST = "matchlake_ingest"
"""The key of the metadata of matchlake in the user metadata of a commit."""

STEP = "matchlake_step"
"""The key, in the user metadata, of a step of matchlake other than a batch or a restart."""

FENCE = "fence"
"""The key in the metadata of a commit that fences a checkpoint generation.

After this commit Delta skips all batches of that generation.
"""
FENCED = 2**62
"""The transaction version of a fence: greater than the number of any batch."""

_AT_ONCE = 10
_REPLACING = ("RESTORE", "CLONE", "TRUNCATE")


class Commit(NamedTuple):
    """One commit of a table."""

    version: int
    at: datetime
    operation: str
    parameters: Mapping[str, str]
    rows: int | None
    """The number of added rows, if the metrics of the commit have it."""
    metadata: Mapping[str, Any]
    """The metadata of the requested key; empty for commits without it."""
    step: Mapping[str, Any] = {}
    """The step of matchlake that made the commit; empty for batches and for other writers."""
    deleted: bool = False
    """Whether the metrics say that a MERGE has deleted rows."""

    @property
    def checked_version(self) -> int:
        """The newest version that the writer had checked; without metadata its own version."""
        return int(self.metadata.get("checked_version", self.version))

    @property
    def generation(self) -> int | None:
        """The checkpoint generation of the commit; None for commits of other writers."""
        return self.metadata.get("generation")

    @property
    def batch(self) -> int | None:
        """The number of the batch; None for a commit that is no batch."""
        return self.metadata.get("batch")

    @property
    def offsets(self) -> dict[int, tuple[int, int]]:
        """The first offset and the end offset (exclusive) per partition of the batch."""
        return ranges_of(self.metadata.get("offsets", {}))

    @property
    def superseded_batches(self) -> dict[int, int]:
        """Per checkpoint, the first batch that a restart superseded. Later ones are, too."""
        superseded = self.metadata.get("superseded_batches", {})
        return {int(checkpoint): batch for checkpoint, batch in superseded.items()}

    @property
    def replaces(self) -> bool:
        """Whether the commit may have replaced the rows of the table."""
        overwrites = self.parameters.get("mode") == "Overwrite" and "ADD" not in self.operation
        replaced = "REPLACE TABLE" in self.operation
        return self.operation in _REPLACING or replaced or overwrites

    @property
    def removes_rows(self) -> bool:
        """Whether the commit may have removed rows that no step of matchlake accounts for."""
        removes = self.replaces or self.operation == "DELETE" or self.deleted
        return removes and not self.step

    def __str__(self) -> str:
        """The commit in an error message."""
        to = self.parameters.get("version") if self.operation == "RESTORE" else None
        back = f" to version {to}" if to else ""
        return f"{self.operation}{back} (version {self.version}, {self.at:%Y-%m-%d %H:%M:%S})"


def ranges_of(json_ranges: Mapping[str, list[int]]) -> dict[int, tuple[int, int]]:
    """Ranges of offsets per partition, from their form in JSON."""
    return {int(part): (first, end) for part, (first, end) in json_ranges.items()}


def transaction_id(stream: str, generation: int) -> str:
    """The `txnAppId` of a checkpoint generation; its `txnVersion` is the number of the batch.

    Delta skips a batch without an error if its number is not greater. If two writers began at the
    same version and use the same id, Delta takes one commit.
    """
    return f"{INGEST}/{stream}/{generation}"


def commits(
    spark: SparkSession, table: str, at_once: int = _AT_ONCE, key: str = INGEST
) -> Iterator[Commit]:
    """The commits of a table, by its full name, newest first, with their metadata of the key.

    Reads `at_once` commits first, and ten times as many whenever the caller needs more.
    """
    count, before = at_once, None
    while True:
        # Does not use select: the result of a command is local, but a query on it is a Spark job.
        rows = spark.sql(f"DESCRIBE HISTORY {table} LIMIT {count}").collect()
        for row in rows:
            if before is None or row.version < before:
                before = row.version
                yield _commit(row, key)
        if len(rows) < count:
            return
        count *= 10


def table_id(spark: SparkSession, table: str) -> str:
    """The id that Delta gives a table when it is created or replaced."""
    return str(spark.sql(f"DESCRIBE DETAIL {table}").collect()[0].id)


def _commit(row: Any, key: str) -> Commit:
    metrics = row.operationMetrics or {}
    rows = metrics.get("numOutputRows")
    metadata = _user_metadata(row.userMetadata)
    return Commit(
        row.version,
        row.timestamp,
        row.operation,
        row.operationParameters or {},
        None if rows is None else int(rows),
        _mapping(metadata.get(key)),
        _mapping(metadata.get(STEP)),
        metrics.get("numTargetRowsDeleted", "0") != "0",
    )


def _user_metadata(text: str | None) -> Mapping[str, Any]:
    try:
        return _mapping(json.loads(text or "{}"))
    except ValueError:
        return {}


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
