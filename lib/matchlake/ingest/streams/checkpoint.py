"""What a stream's checkpoint says of itself: who it is, what it planned, and what it has done."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pyspark.errors import AnalysisException
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from matchlake.io.kafka import Offsets
from matchlake.io.storage import is_local

Ranges = dict[int, tuple[int, int]]
"""For each partition, the first offset and the one after the last."""


def checkpoint_id(query: str) -> int:
    """What rows are known by: the first 15 hexadecimal digits of the UUID that Spark gave a query.

    Every row has it, and a number of 8 bytes is written and grouped by in a fraction of the time
    that a text of 36 takes.
    """
    return int(query.replace("-", "")[:15], 16)


@dataclass(frozen=True)
class Checkpoint:
    """The folder in which Spark keeps a stream's progress, wherever it lies."""

    spark: SparkSession = field(repr=False)
    path: str
    topic: str

    def id(self) -> int | None:
        """`checkpoint_id` of the query; None where no query has started here."""
        for line in self._lines("metadata"):
            return checkpoint_id(json.loads(line)["id"])
        return None

    def planned_batch(self) -> int | None:
        """Number of the newest batch whose offsets are logged."""
        return self._newest("offsets")

    def committed_batch(self) -> int | None:
        """Number of the newest batch that Spark holds for done."""
        return self._newest("commits")

    def committed(self) -> Offsets | None:
        """Up to where batches are committed; None where there is none yet."""
        newest = self.committed_batch()
        return None if newest is None else self._offsets(f"offsets/{newest}")

    def first(self) -> Offsets | None:
        """Where the very first batch began; None before it."""
        return self._offsets("sources/0/0")

    def plan(self, batch: int) -> Ranges:
        """What a batch whose offsets are logged reads; a partition that is new begins at 0."""
        before = self.first() if batch == 0 else self._offsets(f"offsets/{batch - 1}")
        ends = self._offsets(f"offsets/{batch}") or {}
        return {part: ((before or {}).get(part, 0), end) for part, end in sorted(ends.items())}

    def _offsets(self, file: str) -> Offsets | None:
        for line in self._lines(file):
            # Other lines hold a version and the batch's settings.
            found: dict[str, Any] = json.loads(line) if line.startswith("{") else {}
            if self.topic in found:
                return {int(part): int(at) for part, at in found[self.topic].items()}
        return None

    def _newest(self, folder: str) -> int | None:
        path = f"{self.path}/{folder}"
        if is_local(path):
            there = Path(path).iterdir() if Path(path).is_dir() else ()
            return max((int(file.name) for file in there if file.name.isdigit()), default=None)
        try:
            name = F.col("_metadata.file_name").try_cast("bigint")
            newest = self.spark.read.text(path).agg(F.max(name)).collect()[0][0]
        except AnalysisException as error:
            _require_missing(error)
            return None
        return None if newest is None else int(newest)

    def _lines(self, file: str) -> Iterator[str]:
        path = f"{self.path}/{file}"
        if is_local(path):
            if Path(path).exists():
                yield from Path(path).read_text(encoding="utf-8").splitlines()
            return
        try:
            yield from (line for (line,) in self.spark.read.text(path).collect())
        except AnalysisException as error:
            _require_missing(error)


def _require_missing(error: AnalysisException) -> None:
    if error.getCondition() != "PATH_NOT_FOUND":
        raise error
