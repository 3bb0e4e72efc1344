"""Files of the lake: found, read once, and loaded into bronze by key.

What becomes of a file stands in the ledger `lake.ledger`, and is the same wherever it fails:

| a file that | becomes | and |
|---|---|---|
| is new, or was waiting | loaded | good rows are merged by key, bad ones kept aside |
| has another size or time | changed, then loaded | its refused rows are replaced |
| has nothing in it, or no header | empty | a warning |
| cannot be read to its end | corrupt | one row of the quarantine, the other files load |
| has other columns than declared | waiting | the job fails, nothing of the source is loaded |
| is gone | as it was | its rows stay |
"""

import logging
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from matchlake.errors import ConfigError, ReconciliationError
from matchlake.ingest.files.discovery import LakeFile, LakeFiles
from matchlake.ingest.files.params import LakeParams, LakeSource
from matchlake.ingest.files.parse import count_rows, last_of_each, refused_rows
from matchlake.ingest.files.reader import Corrupt, LakeRows, Parsed, Unfit
from matchlake.ingest.files.tables import lake_quarantine, lake_table
from matchlake.ingest.reasons import Reason
from matchlake.io.delta import Lakehouse
from matchlake.io.delta_properties import drop_constraints

_log = logging.getLogger(__name__)

_AT_ONCE = 1000
"""Files that are read together: what is staged, and named in one statement, stays bounded."""

_NUMBERS = ("rows", "good", "quarantined")
_CHANGING = "Did files change while they were read? Run the job again."

Row = dict[str, Any]
Became = dict[LakeFile, Row]
"""Of each file the columns of the ledger that say what became of it."""


@dataclass(frozen=True)
class LakeCounts:
    """What became of the rows of one source; a corrupt file counts as one row."""

    files: int = 0
    read: int = 0
    good: int = 0
    quarantined: int = 0
    keys: int = 0
    """Distinct keys of the good rows; the other good rows were superseded by later ones."""
    corrupt: int = 0
    """Files that were refused whole."""

    def __add__(self, other: "LakeCounts") -> "LakeCounts":
        """Both together."""
        mine, theirs = asdict(self), asdict(other)
        return LakeCounts(**{name: mine[name] + theirs[name] for name in mine})


@dataclass(frozen=True)
class LakeLoad:
    """One declared source of files, on its way into its table."""

    name: str
    source: LakeSource
    files: LakeFiles
    rows: LakeRows
    quarantine: str
    lakehouse: Lakehouse = field(repr=False)

    def load(self, loaded_at: str, *, reload: bool = False) -> LakeCounts:
        """Loads what is new or has changed: the last good row of each key, bad rows kept aside.

        The quarantine then holds what the last load of each file refused. After a crash at any
        point the files that were under way are loaded again, with the same result. `loaded_at` is
        ISO 8601 text.

        Raises:
            SourceError: there is no file, and the source is required.
            SchemaError: a file's columns are not those declared; nothing was written.
            TableError: a table has another shape than declared; nothing was written.
            ReconciliationError: rows read are not rows good and quarantined.
        """
        table = lake_table(self.source)
        self.lakehouse.create(table)
        drop_constraints(self.lakehouse, table.name, dict(table.checks))
        self.lakehouse.create(lake_quarantine(self.quarantine))
        waiting = self.files.find(reload=reload)
        unfit = self.rows.check(waiting)
        counts = LakeCounts()
        for at in range(0, len(waiting), _AT_ONCE):
            counts += self._load(waiting[at : at + _AT_ONCE], unfit, loaded_at)
        return counts

    def files_with(self, column: str, value: str) -> list[str]:
        """The files that hold the value in the column; of files of text anywhere."""
        there = [file for file in self.files.listed() if file.size]
        return self.rows.files_with(there, column, value)

    def _load(self, files: Sequence[LakeFile], unfit: Unfit, loaded_at: str) -> LakeCounts:
        """Loads some files; the ledger comes last, so that a crash loads them again."""
        began = time.monotonic()
        fit = [file for file in files if file not in unfit.empty and file not in unfit.corrupt]
        parsed = self.rows.parse(fit)
        corrupt = {file: unfit.corrupt[file] for file in files if file in unfit.corrupt}
        corrupt |= parsed.corrupt
        for file, told in corrupt.items():
            _log.warning("%s: %s is corrupt and refused whole: %s", self.name, file.file, told)
        for file in unfit.empty.intersection(files):
            _log.warning("%s: %s is empty and left out", self.name, file.file)
        became = self._became(fit, parsed)
        became |= {file: _became("empty") for file in unfit.empty.intersection(files)}
        became |= {file: _became("corrupt", rows=1, bad=1) for file in corrupt}
        keys = self._merge(parsed.rows) if parsed.rows else 0
        self._keep_aside(parsed.rows, became, corrupt, loaded_at)
        took = {"seconds": time.monotonic() - began, "loaded_at": datetime.fromisoformat(loaded_at)}
        self.files.enter({file: row | took for file, row in became.items()})
        self.rows.forget()
        return _counts(became, keys)

    def _became(self, files: Sequence[LakeFile], parsed: Parsed) -> Became:
        """What becomes of files that were read; raises unless each row read is in one of them."""
        counted = count_rows(parsed.rows).collect() if parsed.rows else []
        counts = {row["file"]: row.asDict() for row in counted}
        read = {f: counts.pop(f.file, {}) for f in files if f not in parsed.corrupt}
        became = {f: _became("loaded", *map(row.get, _NUMBERS)) for f, row in read.items()}
        there = sum(row["good"] + row["quarantined"] for row in became.values())
        if counts or there != parsed.read:
            raise ReconciliationError(
                f"{self.name}: {parsed.read} rows read are not {there} good and quarantined of "
                f"the same files. {_CHANGING}"
            )
        return became

    def _merge(self, rows: DataFrame) -> int:
        """Merges the last good row of each key; returns how many, once they are in the table."""
        latest, keys = last_of_each(rows, self.source), list(self.source.keys)
        self.lakehouse.merge(latest, lake_table(self.source))
        table = self.lakehouse.read(self.source.table).select(*keys, F.lit(1).alias("_there"))
        merged = latest.select(keys).join(table, keys, "left")
        count, there = merged.agg(F.count(F.lit(1)), F.count("_there")).collect()[0]
        if count != there:
            raise ReconciliationError(
                f"{self.name}: of {count} keys only {there} are in {self.source.table}. {_CHANGING}"
            )
        return int(count)

    def _keep_aside(
        self, rows: DataFrame | None, became: Became, corrupt: Corrupt, loaded_at: str
    ) -> None:
        """Replaces what the quarantine holds of the files by what was refused of them now."""
        spec = lake_quarantine(self.quarantine)
        files = [file.file for file in became]
        theirs = (F.col("source") == self.name) & F.col("file").isin(files)
        kept = self.lakehouse.read(self.quarantine).where(theirs)
        refused = sum(row["quarantined"] for row in became.values())
        if refused or kept.limit(1).collect():
            when = datetime.fromisoformat(loaded_at)
            whole = [
                (self.name, file.file, None, str(Reason.CORRUPT_FILE), told, when)
                for file, told in corrupt.items()
            ]
            bad = self.lakehouse.frame(whole, spec)
            if rows:
                columns = spec.column_names
                bad = bad.union(refused_rows(rows, self.name, loaded_at).select(columns))
            self.lakehouse.replace_where(bad, spec, theirs)
        there = kept.count() if refused else 0
        if there != refused:
            raise ReconciliationError(
                f"{self.name}: {there} of {refused} refused rows are in {self.quarantine}. "
                f"{_CHANGING}"
            )


def lake_load(
    name: str, lake: LakeParams, folder: str, checkpoints: str, lakehouse: Lakehouse
) -> LakeLoad:
    """The load of the source `name` of files in `folder`."""
    # No stream can be called so: the names of those have no dot.
    source, own = lake.sources[name], f"{checkpoints}/lake.{name}"
    pattern = f"{folder}/{source.path}"
    files = LakeFiles(name, source, pattern, lake.ledger, own, lakehouse, lake.finder)
    rows = LakeRows(name, source, lakehouse.spark, f"{own}.rows")
    return LakeLoad(name, source, files, rows, lake.quarantine, lakehouse)


def lake_folder(params: LakeParams, lakehouse: str | None) -> str:
    """The folder of the files: the one declared, else `lake` below the local lakehouse."""
    if params.folder or lakehouse:
        return params.folder or f"{lakehouse}/lake"
    raise ConfigError("No folder of lake files: set lake.folder in conf.")


def _became(status: str, rows: int | None = 0, good: int | None = 0, bad: int | None = 0) -> Row:
    numbers = zip(_NUMBERS, (rows, good, bad), strict=True)
    return {"status": status, **{name: number or 0 for name, number in numbers}}


def _counts(became: Became, keys: int) -> LakeCounts:
    rows = list(became.values())
    status = Counter(row["status"] for row in rows)
    read, good, bad = (sum(row[name] for row in rows) for name in _NUMBERS)
    return LakeCounts(status["loaded"], read, good, bad, keys, status["corrupt"])
