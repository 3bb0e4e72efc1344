"""Checkpoints of fits, as Parquet: they outlive executors and, on request, the run.

Each run has a folder below the folder of checkpoints, named by its inputs and parameters. It is
removed when the run succeeds. A later run with the same inputs and parameters resumes from the
checkpoints of a failed one, or removes them and starts anew.
"""

import hashlib
import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from pyspark.sql import DataFrame, SparkSession

from matchlake.errors import ConfigError
from matchlake.io.storage import is_local, write_json

_log = logging.getLogger(__name__)

_WRITTEN = {
    # Factors do not shrink; packing them takes longer than writing them.
    "compression": "none",
    # Spark reads a column of a row group into one array of the JVM. Rows of half a MiB would make
    # that hundreds of MiB, more than a small heap has in one piece. So sizes are checked early.
    "parquet.block.size": str(16 << 20),
    "parquet.page.size.row.check.min": "8",
}


@dataclass
class FitCheckpoints:
    """Computes frames, each into its own folder below `folder`, and reads them back."""

    spark: SparkSession = field(repr=False)
    folder: Path

    def __call__(self, frame: DataFrame) -> DataFrame:
        """Writes `frame` and returns the written rows as a frame."""
        place = self.folder / str(max([0, *self._numbers(self.folder)]) + 1)
        frame.write.options(**_WRITTEN).parquet(str(place))
        return self.spark.read.schema(frame.schema).parquet(str(place))

    def of(self, name: str) -> "FitCheckpoints":
        """The checkpoints of one step of the run."""
        return FitCheckpoints(self.spark, self.folder / name)

    def mark(self, iteration: int) -> None:
        """Records that the last written frame is the state of a fit after so many iterations."""
        number = max(self._numbers(self.folder))
        write_json(str(self.folder), "states", number, f'{{"iteration": {iteration}}}\n')

    def last_state(self) -> DataFrame | None:
        """The last marked state; None if there is none."""
        states = self._numbers(self.folder / "states")
        if not states:
            return None
        place = self.folder / str(max(states))
        _log.info("%s resumes from %s", self.folder.name, place)
        return self.spark.read.parquet(str(place))

    @staticmethod
    def _numbers(folder: Path) -> list[int]:
        return [int(path.stem) for path in folder.glob("*") if path.stem.isdigit()]


@contextmanager
def fit_checkpoints(
    spark: SparkSession, folder: str, what: str, *, resume: bool
) -> Iterator[FitCheckpoints]:
    """The checkpoints of a run below `folder`; removed when it succeeds, kept when it fails.

    `what` names everything that the run depends on: only a run with the same text is resumed.
    """
    if not is_local(folder):
        raise ConfigError(
            f"checkpoints is {folder!r}, which only Spark can open: training keeps its checkpoints "
            "there, in a folder that every machine sees, such as /Volumes/catalog/schema/volume."
        )
    place = Path(folder).absolute() / hashlib.sha256(what.encode()).hexdigest()[:16]
    if not resume:
        shutil.rmtree(place, ignore_errors=True)
    elif not place.exists():
        _log.info("nothing to resume in %s: starting anew", place)
    yield FitCheckpoints(spark, place)
    shutil.rmtree(place, ignore_errors=True)
