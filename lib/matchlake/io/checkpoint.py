"""What a stream's checkpoint says of the offsets it has read."""

import json
from dataclasses import dataclass, field
from pathlib import Path

from pyspark.errors import AnalysisException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from matchlake.io.places import is_local

Offsets = dict[int, int]
"""For each partition, the offset after the last one read."""


@dataclass(frozen=True)
class Checkpoint:
    """The folder in which Spark keeps a stream's progress; read through Spark, wherever it lies."""

    spark: SparkSession = field(repr=False)
    path: str
    topic: str

    def committed(self) -> Offsets | None:
        """Up to where batches are committed; None where there is none yet. Two small jobs."""
        batches = self._read("commits")
        if batches is None:
            return None
        newest = batches.agg(F.max(F.col("_metadata.file_name").cast("bigint"))).collect()[0][0]
        return None if newest is None else self._offsets(f"offsets/{newest}")

    def first(self) -> Offsets | None:
        """Where the very first batch began; None before it. One small job."""
        return self._offsets("sources/0/0")

    def _offsets(self, file: str) -> Offsets | None:
        lines = self._read(file)
        for (line,) in [] if lines is None else lines.select("value").collect():
            # Other lines hold a version and the batch's settings.
            found = json.loads(line) if line.startswith("{") else {}
            if self.topic in found:
                return {int(part): int(at) for part, at in found[self.topic].items()}
        return None

    def _read(self, name: str) -> DataFrame | None:
        path = f"{self.path}/{name}"
        # Spark would write a page of warnings about a missing folder. A URL it has to try.
        if is_local(path) and not Path(path).exists():
            return None
        try:
            frame = self.spark.read.text(path)
            _ = frame.columns  # over Connect, a missing folder is noticed only now
        except AnalysisException as error:
            if error.getCondition() != "PATH_NOT_FOUND":
                raise
            return None
        return frame
