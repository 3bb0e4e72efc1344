"""The checkpoint of a stream: its id, its planned batches and its finished batches."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pyspark.errors import AnalysisException
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from matchlake.io.kafka import Offsets
from matchlake.io.storage import is_local

Ranges = dict[int, tuple[int, int]]
"""The first offset and the end offset (exclusive) per partition."""


def checkpoint_id(query: str) -> int:
    """The id of a checkpoint in tables: the first 15 hexadecimal digits of the id of the query.

    Every row has it. A number of 8 bytes is written and grouped in a fraction of the time of a
    string of 36 characters.
    """
    return int(query.replace("-", "")[:15], 16)


@dataclass(frozen=True)
class Checkpoint:
    """The checkpoint folder of a stream, on local or remote storage.

    Each checkpoint generation of a stream has its own folder, which no later generation uses. So a
    stale run writes into its own folder, and cannot affect a later generation.
    """

    spark: SparkSession = field(repr=False)
    folder: str
    """The folder of all generations of the stream."""
    topic: str
    generation: int = 0

    @property
    def path(self) -> str:
        """The folder of this generation."""
        return f"{self.folder}/{self.generation}"

    def of(self, generation: int) -> "Checkpoint":
        """The checkpoint of another generation."""
        return replace(self, generation=generation)

    def newest(self) -> "Checkpoint":
        """The checkpoint of the newest generation with a folder; generation 0 before the first."""
        return self.of(self._generations())

    def id(self) -> int | None:
        """`checkpoint_id` of the query; None if no query has started here."""
        for line in self._lines("metadata"):
            return checkpoint_id(json.loads(line)["id"])
        return None

    def planned_batch(self) -> int | None:
        """Number of the newest batch with logged offsets."""
        return self._newest("offsets")

    def committed_batch(self) -> int | None:
        """Number of the newest batch that Spark marked as done."""
        return self._newest("commits")

    def committed(self) -> Offsets | None:
        """The end offsets of the newest committed batch; None without one."""
        newest = self.committed_batch()
        return None if newest is None else self._offsets(f"offsets/{newest}")

    def first(self) -> Offsets | None:
        """The first offsets of the first batch; None before the first batch."""
        return self._offsets("sources/0/0")

    def plan(self, batch: int) -> Ranges:
        """The ranges of a planned batch; a new partition begins at 0."""
        before = self.first() if batch == 0 else self._offsets(f"offsets/{batch - 1}")
        ends = self._offsets(f"offsets/{batch}") or {}
        return {part: ((before or {}).get(part, 0), end) for part, end in sorted(ends.items())}

    def _offsets(self, file: str) -> Offsets | None:
        for line in self._lines(file):
            # Other lines hold a version and the batch's settings.
            offsets: dict[str, Any] = json.loads(line) if line.startswith("{") else {}
            if self.topic in offsets:
                return {int(part): int(at) for part, at in offsets[self.topic].items()}
        return None

    def _generations(self) -> int:
        if is_local(self.folder):
            return _greatest(self.folder) or 0
        try:
            files = self.spark.read.text(f"{self.folder}/*/metadata").select("_metadata.file_path")
            numbers = [path.split("/")[-2] for (path,) in files.collect()]
        except AnalysisException as error:
            _require_missing(error)
            return 0
        return max((int(number) for number in numbers if number.isdigit()), default=0)

    def _newest(self, folder: str) -> int | None:
        path = f"{self.path}/{folder}"
        if is_local(path):
            return _greatest(path)
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


def _greatest(path: str) -> int | None:
    there = Path(path).iterdir() if Path(path).is_dir() else ()
    return max((int(file.name) for file in there if file.name.isdigit()), default=None)


def _require_missing(error: AnalysisException) -> None:
    if error.getCondition() != "PATH_NOT_FOUND":
        raise error
