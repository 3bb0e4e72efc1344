"""Which files of the lake there are to load: found by a stream, held against a ledger of files.

The stream tells of each file once, and that is all it is asked for: Spark's would pass by files
older than those it knows, and changed ones, and read files twice where another's name holds a `[`,
`{` or `*`. What is loaded is what the ledger says is not loaded yet.
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
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from matchlake.errors import ConfigError, SourceError
from matchlake.ingest.files.params import LakeSource
from matchlake.ingest.files.tables import lake_files
from matchlake.ingest.streams.commits import commits, table_id
from matchlake.io.delta import Lakehouse

_log = logging.getLogger(__name__)

_FORMAT = "binaryFile"  # one row a file, and nothing of it is read where no column asks for it
_FIELDS = "path STRING, modificationTime TIMESTAMP, length BIGINT, content BINARY"
_NO_TIME = datetime(1970, 1, 1, tzinfo=UTC).replace(tzinfo=None)
WAITING = ("found", "changed")
"""The status of files that are not loaded yet."""


class LakeFile(NamedTuple):
    """A file as it was found."""

    file: str
    """Its URL, as Spark's `_metadata.file_path` has it."""
    size: int
    modified_at: datetime

    @property
    def path(self) -> str:
        """What Spark's readers take: no URL, and no pattern where its name looks like one."""
        return re.sub(r"([\\\[\]{}*?])", r"\\\1", unquote(self.file))


@dataclass(frozen=True)
class Noting:
    """What `foreachBatch` calls with new files; holds no session, so that it can travel."""

    source: str
    ledger: str
    catalog: str | None
    folder: str | None

    def __call__(self, found: DataFrame, _batch: int) -> None:
        """Enters the files that the ledger has not; a second try adds nothing."""
        lakehouse = Lakehouse(found.sparkSession, self.catalog, self.folder)
        spec = lake_files(self.ledger)
        own = {"source": F.lit(self.source), "status": F.lit("found")}
        given = found.dropDuplicates(["file"]).withColumns(own)
        rest = {
            column.name: F.lit(None).cast(column.type)
            for column in spec.columns
            if column.name not in given.columns
        }
        lakehouse.merge(given.withColumns(rest), spec, matched="", retry_on_conflict=True)


@dataclass(frozen=True)
class LakeFiles:
    """The files of one declared source, and their rows in the ledger."""

    name: str
    source: LakeSource
    pattern: str
    """Folder and path of the files."""
    ledger: str
    checkpoint: str
    """The folder where the stream keeps which files it has told of."""
    lakehouse: Lakehouse = field(repr=False)
    finder: str = "spark"

    def find(self, *, reload: bool = False) -> list[LakeFile]:
        """The files to load, by name: new ones, changed ones, and those still waiting.

        All of them on `reload`, and where the declaration is another one than they were loaded
        by, or their table was made anew or restored since. A file that is gone is let be, and so
        are its rows.

        Raises:
            SourceError: there is no file with anything in it, and the source is required.
            ConfigError: the finder is not to be had here.
        """
        self.lakehouse.create(lake_files(self.ledger))
        self._follow()
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
            why = "as asked" if reload else "the declaration or the table has changed"
            _log.info("%s: %d file(s) are loaded anew: %s", self.name, len(others), why)
        waiting |= {file.file for file in others}
        waiting |= {name for name, row in known.items() if row.status in WAITING}
        return [file for file in there if file.file in waiting]

    def listed(self) -> list[LakeFile]:
        """The files that are there now, by name; hidden ones (`.` or `_` first) are none."""
        try:
            there = self.lakehouse.spark.read.format(_FORMAT).load(self.pattern)
        except AnalysisException as error:
            if error.getCondition() != "PATH_NOT_FOUND":
                raise
            return []
        found = {row["file"]: LakeFile(*row) for row in _facts(there).collect()}
        # Files with nothing in them have no row.
        names = [re.sub("^file:/+", "file:/", name) for name in there.inputFiles()]
        return [found.get(name, LakeFile(name, 0, _NO_TIME)) for name in sorted(names)]

    def known(self) -> dict[str, Any]:
        """The source's rows in the ledger, by file."""
        rows = self.lakehouse.read(self.ledger).where(F.col("source") == self.name)
        return {row.file: row for row in rows.collect()}

    def declared(self) -> str:
        """A mark of all that a file's rows in the table depend on, beside the file itself."""
        spark, table = self.lakehouse.spark, self.lakehouse.name(self.source.table)
        said = self.source.model_dump(exclude={"comment", "path", "required"})
        for column in said["columns"].values():
            del column["comment"]
        replaced = (commit.version for commit in commits(spark, table) if commit.replaces)
        said["table_at"] = (table_id(spark, table), next(replaced, None))
        return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:16]

    def enter(self, done: Mapping[LakeFile, Mapping[str, Any]]) -> None:
        """Writes what became of files into the ledger; run again, it only counts the load."""
        known, mark = self.known(), self.declared()
        entries = []
        for file, became in done.items():
            before = known.get(file.file)
            loads = ((before.loads if before else None) or 0) + 1
            status = str(became["status"])
            rest = {name: value for name, value in became.items() if name != "status"}
            entries.append(self._entry(file, status, declared=mark, loads=loads, **rest))
        self._write(entries)

    def _follow(self) -> None:
        """Lets the stream tell of new files, until it knows of no more."""
        spark = self.lakehouse.spark
        is_own = self.finder == "spark"
        reader = spark.readStream.format(_FORMAT if is_own else "cloudFiles")
        if not is_own:
            reader = reader.option("cloudFiles.format", _FORMAT)
        noting = Noting(self.name, self.ledger, self.lakehouse.catalog, self.lakehouse.folder)
        try:
            found = _facts(reader.schema(_FIELDS).load(_as_glob(self.pattern)))
            query = (
                found.writeStream.foreachBatch(noting)
                .queryName(f"lake.{self.name}")
                .option("checkpointLocation", self.checkpoint)
                .trigger(availableNow=True)
                .start()
            )
            query.awaitTermination()
        except (PySparkException, Py4JError) as error:
            raise self._explained(error) from error

    def _explained(self, error: Exception) -> Exception:
        if "DATA_SOURCE_NOT_FOUND" in str(error):
            return ConfigError(
                "lake.finder is cloud_files, which there is on Databricks only: set it to spark."
            )
        if re.search(r"CONCURRENT_|active query", str(error)):
            return SourceError(
                f"{self.name}: another run looks for the same files, with the same checkpoint. Let "
                "one of them end; nothing was loaded."
            )
        return error

    def _require_some(self, there: Iterable[LakeFile]) -> None:
        if any(file.size for file in there):
            return
        if self.source.required:
            raise SourceError(
                f"No file {self.pattern} with anything in it, and lake.sources.{self.name} is "
                "required. Put it there, or name another `path`."
            )
        _log.warning("%s: no file %s, nothing to load", self.name, self.pattern)

    def _has_changed(self, file: LakeFile, known: Any) -> bool:
        """Whether a file is another than the ledger knows; says so where it knows one."""
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
        """The entry of a file that the stream has not told of, or not as it is now."""
        if known is None:
            return self._entry(file, "found")
        return self._entry(file, "changed", loads=known.loads)

    def _entry(self, file: LakeFile, status: str, **became: Any) -> dict[str, Any]:
        return {"source": self.name, **file._asdict(), "status": status, **became}

    def _write(self, entries: list[dict[str, Any]]) -> None:
        spec = lake_files(self.ledger)
        rows = [tuple(entry.get(name) for name in spec.column_names) for entry in entries]
        frame = self.lakehouse.frame(rows, spec)
        self.lakehouse.merge(frame, spec, retry_on_conflict=True)


def _as_glob(path: str) -> str:
    """The same as a pattern: a plain path Spark's stream wants to be a folder, and there."""
    bare = path.rstrip("/")
    return path if re.search(r"[*?\[{]", path) else f"{bare[:-1]}[{bare[-1]}]"


def _facts(files: DataFrame) -> DataFrame:
    return files.select(
        F.col("_metadata.file_path").alias("file"),
        F.col("_metadata.file_size").alias("size"),
        F.col("_metadata.file_modification_time").alias("modified_at"),
    )
