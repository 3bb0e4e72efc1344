"""What a training run keeps on its way, as Parquet: it outlives executors and, on request, the run.

Below the folder of checkpoints each run has a folder of its own, named by what it trains on, which
goes once the run is done. What a failed run left there is taken up by a run that resumes it, and
removed by one of the same that starts anew.
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
    # that hundreds of MiB, which a small heap has not in one piece; so sizes are looked at early.
    "parquet.block.size": str(16 << 20),
    "parquet.page.size.row.check.min": "8",
}


@dataclass
class Cuts:
    """Computes frames, each into a folder of its own below `folder`, and reads them back."""

    spark: SparkSession = field(repr=False)
    folder: Path

    def __call__(self, frame: DataFrame) -> DataFrame:
        """Writes `frame` and gives it back as what was written."""
        place = self.folder / str(max([0, *self._numbers(self.folder)]) + 1)
        frame.write.options(**_WRITTEN).parquet(str(place))
        return self.spark.read.schema(frame.schema).parquet(str(place))

    def of(self, name: str) -> "Cuts":
        """The cuts of one step of the run, kept apart from those of others."""
        return Cuts(self.spark, self.folder / name)

    def mark(self, iteration: int) -> None:
        """Notes that the frame written last is a fit's state after so many iterations."""
        number = max(self._numbers(self.folder))
        write_json(str(self.folder), "states", number, f'{{"iteration": {iteration}}}\n')

    def last_state(self) -> DataFrame | None:
        """The last state that was marked; None where there is none."""
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
def run_cuts(spark: SparkSession, folder: str, what: str, *, resume: bool) -> Iterator[Cuts]:
    """The cuts of a run below `folder`; gone when it ends well, kept where it fails.

    `what` says all that the run depends on: only a run with the same is resumed.
    """
    if not is_local(folder):
        raise ConfigError(
            f"checkpoints is {folder!r}, which only Spark can open: training keeps its cuts there "
            "and needs a folder that every machine sees, such as /Volumes/catalog/schema/volume."
        )
    place = Path(folder).absolute() / hashlib.sha256(what.encode()).hexdigest()[:16]
    if not resume:
        shutil.rmtree(place, ignore_errors=True)
    elif not place.exists():
        _log.info("nothing to resume in %s: starting anew", place)
    yield Cuts(spark, place)
    shutil.rmtree(place, ignore_errors=True)
