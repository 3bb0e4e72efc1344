"""Files of the lake: found, their headers checked, read, and loaded into bronze by key."""

import logging
from dataclasses import dataclass, field
from pathlib import Path

from pyspark.errors import AnalysisException
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import StringType, StructType

from matchlake.errors import ConfigError, ReconciliationError, SchemaError, SourceError
from matchlake.ingest.lake_params import LakeParams, LakeSource
from matchlake.ingest.rows import CORRUPT, count_rows, last_of_each, parse_rows, refused_rows
from matchlake.ingest.tables import lake_quarantine, lake_table
from matchlake.io.delta import Lakehouse
from matchlake.io.places import is_local
from matchlake.io.table_facts import drop_constraints

_log = logging.getLogger(__name__)

_NAMED = 5


@dataclass(frozen=True)
class LakeCounts:
    """What became of the rows of one source."""

    files: int = 0
    read: int = 0
    good: int = 0
    quarantined: int = 0
    keys: int = 0
    """Distinct keys of the good rows; the other good rows were superseded by later ones."""


@dataclass(frozen=True)
class LakeLoad:
    """One declared source of files in `folder`, on its way into its table."""

    name: str
    source: LakeSource
    folder: str
    quarantine: str
    lakehouse: Lakehouse = field(repr=False)

    def load(self, loaded_at: str) -> LakeCounts:
        """Reads all files, merges the last good row of each key, keeps the bad rows aside.

        The quarantine then holds what this load of the source refused. Rerun, it changes nothing
        but the time there. `loaded_at` is ISO 8601 text.

        Raises:
            SourceError: there is no file, and the source is required.
            SchemaError: a file's columns are not those declared; nothing was written.
            TableError: a table has another shape than declared; nothing was written.
            ReconciliationError: rows read are not rows good and quarantined.
        """
        table, quarantine = lake_table(self.source), lake_quarantine(self.quarantine)
        self.lakehouse.create(table)
        drop_constraints(self.lakehouse, table.name, dict(table.checks))
        self.lakehouse.create(quarantine)
        files = self._files()
        if not files:
            return LakeCounts()
        for file in files:
            self._check_columns(file)
        read = self._read(files)
        rows = parse_rows(read, self.source)
        latest = last_of_each(rows, self.source)
        counts = LakeCounts(
            files=len(files),
            read=read.count(),
            **count_rows(rows, self.source).collect()[0].asDict(),
        )
        self.lakehouse.merge(latest, table)
        if counts.quarantined or self._kept():
            bad = refused_rows(rows, self.name, loaded_at)
            self.lakehouse.replace_part(bad, quarantine, {"source": self.name})
        self._check(counts, latest)
        return counts

    def files_with(self, column: str, value: str) -> list[str]:
        """The files that hold the value in the column; of files of text anywhere."""
        files = self._files()
        if not files:
            return []
        if self.source.format == "parquet":
            rows = self.lakehouse.spark.read.parquet(*files)
            name = self.source.columns[column].path or column
            found = rows.where(F.col(name).cast("string") == value)
        else:
            rows = self.lakehouse.spark.read.text(files)
            found = rows.where(F.contains("value", F.lit(value)))
        named = found.select("_metadata.file_path").distinct().orderBy("file_path")
        return [row[0] for row in named.collect()]

    def _kept(self) -> int:
        return self.lakehouse.read(self.quarantine).where(f"source = '{self.name}'").count()

    def _check(self, counts: LakeCounts, latest: DataFrame) -> None:
        """Looks into the tables whether all that was read is there."""
        keys = list(self.source.keys)
        table = self.lakehouse.read(self.source.table).select(keys)
        merged = latest.select(keys).join(table, keys, "left_semi").count()
        kept = self._kept()
        if (counts.read, counts.keys, counts.quarantined) != (counts.good + kept, merged, kept):
            raise ReconciliationError(
                f"{self.name}: {counts.read} rows read are not {counts.good} good + {kept} "
                f"quarantined, or of {counts.keys} keys only {merged} are in {self.source.table}. "
                "Did files change while they were read? Run the job again."
            )

    def _files(self) -> list[str]:
        """The files that are not empty; warns of those that are, and where there is none."""
        pattern = f"{self.folder}/{self.source.path}"
        files = self._local() if is_local(pattern) else self._listed(pattern)
        for name, size in files.items():
            if not size:
                _log.warning("%s: %s is empty and left out", self.name, name)
        there = sorted(name for name, size in files.items() if size)
        if not there:
            if self.source.required:
                raise SourceError(
                    f"No file {pattern} with anything in it, and lake.sources.{self.name} is "
                    "required. Put it there, or name another `path`."
                )
            _log.warning("%s: no file %s, nothing to load", self.name, pattern)
        return there

    def _local(self) -> dict[str, int]:
        found = Path(self.folder).glob(self.source.path)
        return {str(path): path.stat().st_size for path in found if path.is_file()}

    def _listed(self, pattern: str) -> dict[str, int]:
        try:
            found = self.lakehouse.spark.read.format("binaryFile").load(pattern)
            return dict(map(tuple, found.select("path", "length").collect()))
        except AnalysisException as error:
            if error.getCondition() != "PATH_NOT_FOUND":
                raise
            return {}

    def _check_columns(self, file: str) -> None:
        expected = [column.path or name for name, column in self.source.columns.items()]
        spark = self.lakehouse.spark
        match self.source.format:
            case "json":
                return
            case "csv":
                found = spark.read.csv(file, sep=self.source.separator, header=True).columns
                wrong = found != expected
            case "parquet":
                found = spark.read.parquet(file).columns
                wrong = not set(expected) <= set(found)
        if wrong:
            raise SchemaError(
                f"{file} has the columns {', '.join(found)}; expected were {', '.join(expected)}. "
                f"Nothing was loaded into {self.source.table}. Mend the file, or declare its "
                f"columns in lake.sources.{self.name}."
            )

    def _read(self, files: list[str]) -> DataFrame:
        spark = self.lakehouse.spark
        match self.source.format:
            case "json":
                return spark.read.text(files).where("trim(value) != ''")
            case "parquet":
                return spark.read.parquet(*files)
        fields = StructType()
        for name, column in self.source.columns.items():
            fields = fields.add(column.path or name, StringType())
        return spark.read.csv(
            files,
            fields.add(CORRUPT, StringType()),
            sep=self.source.separator,
            header=True,
            escape='"',
            columnNameOfCorruptRecord=CORRUPT,
        )


def lake_folder(params: LakeParams, lakehouse: str | None) -> str:
    """The folder of the files: the one declared, else `lake` below the laptop's lakehouse."""
    if params.folder or lakehouse:
        return params.folder or f"{lakehouse}/lake"
    raise ConfigError("No folder of lake files: set lake.folder in conf.")
