"""Finds the lake files to load: a stream finds new files, and the file log has their status.

The stream only reports each file once. Spark's stream would skip changed files and files older
than known ones, and read files twice if a name holds `[`, `{` or `*`. So the files to load are
those that the log does not have as loaded.
"""

import hashlib
import json
import logging
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple
from urllib.parse import unquote

from py4j.protocol import Py4JError
from pyspark.errors import AnalysisException, PySparkException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from matchlake.errors import ConfigError, SourceError
from matchlake.ingest.files.params import LakeSource
from matchlake.ingest.files.tables import lake_files
from matchlake.ingest.streams.commits import commits, table_id
from matchlake.io.delta import Lakehouse

_log = logging.getLogger(__name__)

_FORMAT = "binaryFile"  # one row per file; the content is read only if the column is selected
_FIELDS = "path STRING, modificationTime TIMESTAMP, length BIGINT, content BINARY"
_NO_TIME = datetime(1970, 1, 1, tzinfo=UTC).replace(tzinfo=None)
WAITING = ("found", "changed", "refused")
"""The status of files that are not loaded yet, and are tried by each run."""


class LakeFile(NamedTuple):
    """A file as it was found."""

    file: str
    """The URL, as in Spark's `_metadata.file_path`."""
    size: int
    modified_at: datetime

    @property
    def path(self) -> str:
        """The path for Spark's readers: not a URL; glob characters are escaped."""
        return re.sub(r"([\\\[\]{}*?])", r"\\\1", unquote(self.file))


@dataclass(frozen=True)
class RecordNewFiles:
    """The function of `foreachBatch` for new files; it holds no session, so Spark can send it."""

    source: str
    file_log: str
    catalog: str | None
    folder: str | None

    def __call__(self, found: DataFrame, _batch: int) -> None:
        """Adds new files to the log. A second call adds nothing."""
        lakehouse = Lakehouse(found.sparkSession, self.catalog, self.folder)
        spec = lake_files(self.file_log)
        own = {"source": F.lit(self.source), "status": F.lit("found")}
        files = found.dropDuplicates(["file"]).withColumns(own)
        rest = {
            column.name: F.lit(None).cast(column.type)
            for column in spec.columns
            if column.name not in files.columns
        }
        lakehouse.merge(files.withColumns(rest), spec, matched="", retry_on_conflict=True)


@dataclass(frozen=True)
class LakeFiles:
    """The files of one declared source, and their rows in the log."""

    name: str
    source: LakeSource
    pattern: str
    """Folder and path of the files."""
    file_log: str
    checkpoint: str
    """The checkpoint folder of the stream."""
    lakehouse: Lakehouse = field(repr=False)
    file_discovery: str = "directory_listing"

    def find(self, *, reload: bool = False) -> list[LakeFile]:
        """The files to load, by name: new and changed ones, and those not loaded yet.

        With `reload` these are all files; also if the declaration has changed since their load, or
        if their table was created again or restored. A deleted file and its rows are left alone.

        Raises:
            SourceError: there is no file with content, and the source is required.
            ConfigError: `lake.file_discovery` is not available on this platform.
        """
        self.lakehouse.create(lake_files(self.file_log), add_columns=True)
        self._find_new()
        there, known = self.listed(), self.known()
        self._require_some(there)
        changed = [file for file in there if self._has_changed(file, known.get(file.file))]
        if changed:
            self._write([self._noticed(file, known.get(file.file)) for file in changed])
        mark, waiting = self.declared(), {file.file for file in changed}
        others = [
            file
            for file in there
            if file.file not in waiting
            and known[file.file].status not in WAITING
            and (reload or known[file.file].declared != mark)
        ]
        if others:
            cause = "by request" if reload else "the declaration or the table has changed"
            _log.info("%s: %d file(s) are loaded again: %s", self.name, len(others), cause)
        waiting |= {file.file for file in others}
        waiting |= {name for name, row in known.items() if row.status in WAITING}
        return [file for file in there if file.file in waiting]

    def listed(self) -> list[LakeFile]:
        """The files that exist now, by name, without hidden ones (names with `.` or `_` first)."""
        return files_at(self.lakehouse.spark, self.pattern)

    def known(self) -> dict[str, Any]:
        """The rows of the source in the log, by file."""
        rows = self.lakehouse.read(self.file_log).where(F.col("source") == self.name)
        return {row.file: row for row in rows.collect()}

    def declared(self) -> str:
        """A hash of everything besides the file itself that determines its rows in the table."""
        spark, table = self.lakehouse.spark, self.lakehouse.name(self.source.table)
        declaration = self.source.model_dump(exclude={"comment", "path", "required"})
        for declared in (*declaration["columns"].values(), *declaration["rules"].values()):
            del declared["comment"]
        if not declaration["rules"]:
            del declaration["rules"]
        replaced = (commit.version for commit in commits(spark, table) if commit.replaces)
        declaration["table_at"] = (table_id(spark, table), next(replaced, None))
        return hashlib.sha256(json.dumps(declaration, sort_keys=True).encode()).hexdigest()[:16]

    def enter(self, done: Mapping[LakeFile, Mapping[str, Any]]) -> None:
        """Writes the results of loads to the log. A second call only counts one more load."""
        known, mark = self.known(), self.declared()
        entries = []
        for file, result in done.items():
            before = known.get(file.file)
            loads = ((before.loads if before else None) or 0) + 1
            status = str(result["status"])
            rest = {name: value for name, value in result.items() if name != "status"}
            entries.append(self._entry(file, status, declared=mark, loads=loads, **rest))
        self._write(entries)

    def keep_waiting(self, reasons: Mapping[LakeFile, str]) -> None:
        """Logs in the file log why files could not be read. The next run tries them again."""
        if reasons:
            known = self.known()
            loads = {file: row.loads if (row := known.get(file.file)) else None for file in reasons}
            self._write(
                [
                    self._entry(file, "found", loads=loads[file], reason=reason)
                    for file, reason in reasons.items()
                ]
            )

    def _find_new(self) -> None:
        """Runs the stream until it finds no more new files."""
        spark = self.lakehouse.spark
        is_own = self.file_discovery == "directory_listing"
        reader = spark.readStream.format(_FORMAT if is_own else "cloudFiles")
        if not is_own:
            reader = reader.option("cloudFiles.format", _FORMAT)
        record_new_files = RecordNewFiles(
            self.name, self.file_log, self.lakehouse.catalog, self.lakehouse.folder
        )
        try:
            files = _facts(reader.schema(_FIELDS).load(_as_glob(self.pattern)))
            query = (
                files.writeStream.foreachBatch(record_new_files)
                .queryName(f"lake.{self.name}")
                .option("checkpointLocation", self.checkpoint)
                .trigger(availableNow=True)
                .start()
            )
            query.awaitTermination()
        except (PySparkException, Py4JError) as error:
            raise self._explain(error) from error

    def _explain(self, error: Exception) -> Exception:
        if "DATA_SOURCE_NOT_FOUND" in str(error):
            return ConfigError(
                "lake.file_discovery is auto_loader, which exists on Databricks only: set it to "
                "directory_listing."
            )
        if re.search(r"CONCURRENT_|active query", str(error)):
            return SourceError(
                f"{self.name}: another run reads the same files with the same checkpoint. Let "
                "one of them end. Nothing was loaded."
            )
        return error

    def _require_some(self, there: Iterable[LakeFile]) -> None:
        if any(file.size for file in there):
            return
        if self.source.required:
            raise SourceError(
                f"No file {self.pattern} with content, and lake.sources.{self.name} is required. "
                "Add the file, or set another `path`."
            )
        _log.warning("%s: no file %s, nothing to load", self.name, self.pattern)

    def _has_changed(self, file: LakeFile, known: Any) -> bool:
        """Whether a file differs from its row in the log. Logs the difference."""
        if known is None:
            return True
        if (file.size, file.modified_at) == (known["size"], known["modified_at"]):
            return False
        _log.info(
            "%s: %s has changed since it was found (%d bytes of %s, now %d of %s)",
            self.name,
            file.file,
            known["size"],
            known["modified_at"],
            file.size,
            file.modified_at,
        )
        return True

    def _noticed(self, file: LakeFile, known: Any) -> dict[str, Any]:
        """The log row of a file that the stream did not report, or that changed since."""
        if known is None:
            return self._entry(file, "found")
        return self._entry(file, "changed", loads=known.loads)

    def _entry(self, file: LakeFile, status: str, **result: Any) -> dict[str, Any]:
        return {"source": self.name, **file._asdict(), "status": status, **result}

    def _write(self, entries: list[dict[str, Any]]) -> None:
        spec = lake_files(self.file_log)
        rows = [tuple(entry.get(name) for name in spec.column_names) for entry in entries]
        frame = self.lakehouse.frame(rows, spec)
        self.lakehouse.merge(frame, spec, retry_on_conflict=True)


def files_at(spark: SparkSession, pattern: str) -> list[LakeFile]:
    """The files of a pattern, by name, without hidden ones (names with `.` or `_` first)."""
    try:
        there = spark.read.format(_FORMAT).load(pattern)
    except AnalysisException as error:
        if error.getCondition() != "PATH_NOT_FOUND":
            raise
        return []
    files = {row["file"]: LakeFile(*row) for row in _facts(there).collect()}
    # Empty files have no row.
    names = [re.sub("^file:/+", "file:/", name) for name in there.inputFiles()]
    return [files.get(name, LakeFile(name, 0, _NO_TIME)) for name in sorted(names)]


def _as_glob(path: str) -> str:
    """The path as a glob pattern. Spark's stream takes a path without a pattern for a folder."""
    folder = path.rstrip("/")
    return path if re.search(r"[*?\[{]", path) else f"{folder[:-1]}[{folder[-1]}]"


def _facts(files: DataFrame) -> DataFrame:
    return files.select(
        F.col("_metadata.file_path").alias("file"),
        F.col("_metadata.file_size").alias("size"),
        F.col("_metadata.file_modification_time").alias("modified_at"),
    )
