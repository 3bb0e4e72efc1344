"""Checkpoints of a training run as Parquet: they outlive executors, and a failed run.

Each run has a folder of its own below the folder of checkpoints, named by a hash of its inputs. The
folder is removed when the run succeeds. After a failure, a run with the same inputs either resumes
from this folder or removes it.
"""

import hashlib
import logging
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from pyspark.sql import DataFrame, SparkSession

from matchlake.errors import ConfigError
from matchlake.io.storage import is_local, write_json

_log = logging.getLogger(__name__)

FIT_JOBS = ("train_recommender", "recommend", "train_model")
"""The jobs that keep checkpoints, each in a folder with its name."""

_WRITTEN = {
    # Factors hardly compress: compressing them takes longer than writing them.
    "compression": "none",
    # Spark reads a column of a row group into one array of the JVM. With rows of half a MiB this
    # array would have hundreds of MiB, too much for a small heap. So row groups are small, and the
    # size of a page is checked after 8 rows.
    "parquet.block.size": str(16 << 20),
    "parquet.page.size.row.check.min": "8",
}


@dataclass
class FitCheckpoints:
    """Writes frames, each to a folder of its own below `folder`, and reads them back."""

    spark: SparkSession = field(repr=False)
    folder: Path

    def __call__(self, frame: DataFrame) -> DataFrame:
        """Writes `frame`, and returns a frame that reads it back."""
        path = self.folder / str(max([0, *self._numbers(self.folder)]) + 1)
        frame.write.options(**_WRITTEN).parquet(str(path))
        return self.spark.read.schema(frame.schema).parquet(str(path))

    def of(self, name: str) -> "FitCheckpoints":
        """The checkpoints of one step of the run, in a folder of their own."""
        return FitCheckpoints(self.spark, self.folder / name)

    def mark(self, iteration: int) -> None:
        """Records that the last written frame is the state of a fit after these iterations."""
        number = max(self._numbers(self.folder))
        write_json(str(self.folder), "states", number, f'{{"iteration": {iteration}}}\n')

    def last_state(self) -> DataFrame | None:
        """The last state that `mark` recorded; None without one."""
        states = self._numbers(self.folder / "states")
        if not states:
            return None
        path = self.folder / str(max(states))
        _log.info("%s resumes from %s", self.folder.name, path)
        return self.spark.read.parquet(str(path))

    @staticmethod
    def _numbers(folder: Path) -> list[int]:
        return [int(path.stem) for path in folder.glob("*") if path.stem.isdigit()]


def remove_checkpoints(folder: str, older_than_days: float = 0) -> int:
    """Removes what failed runs left below `folder`, if it is older; returns the number of runs.

    Removes nothing if Python cannot open `folder`: no run keeps checkpoints there.
    """
    if not is_local(folder):
        return 0
    path, oldest = Path(folder).absolute(), time.time() - older_than_days * 86_400
    found = [each for each in path.glob("*") if each.is_dir() and _modified(each) <= oldest]
    for each in found:
        shutil.rmtree(each, ignore_errors=True)
    return len(found)


def _modified(folder: Path) -> float:
    """The time of the last change in the folder."""
    return max(path.stat().st_mtime for path in (folder, *folder.rglob("*")))


@contextmanager
def fit_checkpoints(
    spark: SparkSession, folder: str, inputs: str, *, resume: bool
) -> Iterator[FitCheckpoints]:
    """The checkpoints of a run below `folder`, removed when the run succeeds.

    `inputs` identifies all inputs of the run: only a run with equal inputs resumes. Raises
    ConfigError if Python cannot open `folder`.
    """
    if not is_local(folder):
        raise ConfigError(
            f"checkpoints is {folder!r}, which only Spark can open. Training needs a folder that "
            "every machine can open, such as /Volumes/catalog/schema/volume."
        )
    path = Path(folder).absolute() / hashlib.sha256(inputs.encode()).hexdigest()[:16]
    if not resume:
        shutil.rmtree(path, ignore_errors=True)
    elif not path.exists():
        _log.info("no checkpoints to resume in %s: starting from the beginning", path)
    yield FitCheckpoints(spark, path)
    shutil.rmtree(path, ignore_errors=True)
