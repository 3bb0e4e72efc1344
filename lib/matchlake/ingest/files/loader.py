"""Loads lake files into bronze by key: finds them, reads each once, and keeps a log.

The table `lake.file_log` has the status of each file. A crash does not change these rules:

| file | status | effect |
|---|---|---|
| new, or not loaded yet | loaded | valid rows are merged by key, the others are quarantined |
| other size or time than before | changed, then loaded | its quarantined rows are replaced |
| without content or header | empty | a warning |
| not readable to its end, or above a limit | corrupt | one row in quarantine; the others load |
| other columns than declared | refused | one row in quarantine; the others load; the job fails |
| not readable now, as without permission | found | the others load; the job fails |
| deleted | unchanged | its rows stay |
"""

import logging
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from functools import cached_property, partial
from typing import Any

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from matchlake.errors import ConfigError, ReconciliationError
from matchlake.ingest.files.corruption import CORRUPT, REFUSED, UNREADABLE, Fault, Faults
from matchlake.ingest.files.discovery import LakeFile, LakeFiles
from matchlake.ingest.files.lake_rules import with_rules
from matchlake.ingest.files.params import LakeParams, LakeSource
from matchlake.ingest.files.parse import count_rows, last_of_each, rejected_rows
from matchlake.ingest.files.reader import Checked, LakeRows, Parsed
from matchlake.ingest.files.sizes import TextLimits
from matchlake.ingest.files.tables import lake_quarantine, lake_table
from matchlake.ingest.files.user_rows import row_users
from matchlake.ingest.rejections import ErrorCode
from matchlake.ingest.row_rules import RuleCounts, failed_rules, require_unbroken, rule_counts
from matchlake.ingest.rules import WARNINGS
from matchlake.ingest.schema import ERROR_MESSAGE
from matchlake.io.delta import Lakehouse
from matchlake.io.delta_properties import drop_constraints
from matchlake.io.erased_users import ErasedUsers

_log = logging.getLogger(__name__)

_AT_ONCE = 1000
"""Files per load, which limits the staged data and the length of statements."""

_CODES = {CORRUPT: ErrorCode.CORRUPT_FILE, REFUSED: ErrorCode.WRONG_COLUMNS}
_FATES = {
    CORRUPT: "corrupt and rejected",
    REFUSED: "refused",
    UNREADABLE: "not readable now, and tried again by the next run",
}
_ROW_TEXT = "row_text"
_NUMBERS = ("rows", "valid", "quarantined")
_OF_ERASED = "the row names an erased user"
_CHANGING = "The files may have changed while they were read. Run the job again."

Row = dict[str, Any]
Results = dict[LakeFile, Row]
"""Per file the columns of the log with the result of its load."""


@dataclass(frozen=True)
class LakeCounts:
    """The counts of the rows of one source; a corrupt file counts as one row."""

    files: int = 0
    read: int = 0
    valid: int = 0
    quarantined: int = 0
    keys: int = 0
    """Distinct keys of the valid rows; later rows superseded the others."""
    corrupt: int = 0
    """Files that were rejected as a whole because they are broken or above a limit."""
    refused: tuple[str, ...] = ()
    """One sentence per file that was not loaded for another reason. With any, the job fails."""

    def __add__(self, other: "LakeCounts") -> "LakeCounts":
        """Adds the counts."""
        left, right = asdict(self), asdict(other)
        return LakeCounts(**{name: left[name] + right[name] for name in left})


@dataclass(frozen=True)
class LakeLoad:
    """The load of one declared source into its table."""

    name: str
    source: LakeSource
    files: LakeFiles
    rows: LakeRows
    quarantine: str
    lakehouse: Lakehouse = field(repr=False)

    def load(self, loaded_at: str, *, reload: bool = False) -> LakeCounts:
        """Loads new and changed files: the last valid row per key; invalid rows are quarantined.

        The quarantine then holds the rows that the last load of each file rejected. After a crash
        unfinished files are loaded again, with the same result. `loaded_at` is ISO 8601 text.

        Raises:
            SourceError: there is no file, and the source is required.
            TableError: a table has another shape than declared; nothing was written.
            ReconciliationError: the rows read are not the valid and the quarantined ones.
            InputError: a row breaks a rule with the action `fail`; its files were not written.
        """
        table = lake_table(self.source)
        self.lakehouse.create(table, add_columns=self._lacks_warnings_only())
        drop_constraints(self.lakehouse, table.name, dict(table.checks))
        self.lakehouse.create(lake_quarantine(self.quarantine))
        waiting = self.files.find(reload=reload)
        checked = self.rows.check(waiting)
        counts = LakeCounts()
        for at in range(0, len(waiting), _AT_ONCE):
            counts += self._load(waiting[at : at + _AT_ONCE], checked, loaded_at)
        return counts

    def _load(self, files: Sequence[LakeFile], checked: Checked, loaded_at: str) -> LakeCounts:
        """Loads some files. Writes the log last: after a crash the files are loaded again."""
        began = time.monotonic()
        fit = [file for file in files if file not in checked.empty and file not in checked.faults]
        parsed = self.rows.parse(fit, checked.schemas)
        faults = {file: checked.faults[file] for file in files if file in checked.faults}
        faults |= parsed.faults
        for file, fault in faults.items():
            _log.warning("%s: %s is %s", self.name, file.file, _told(fault))
        for file in checked.empty.intersection(files):
            _log.warning("%s: %s is empty and skipped", self.name, file.file)
        if parsed.rows and self.source.rules:
            parsed = parsed._replace(rows=self._ruled(parsed.rows, len(fit)))
        results = self._results(fit, parsed)
        results |= {file: _result("empty") for file in checked.empty.intersection(files)}
        results |= {
            file: _result(fault.status, rows=1, quarantined=1) | {"reason": fault.reason}
            for file, fault in faults.items()
            if fault.status != UNREADABLE
        }
        keys = self._merge(parsed.rows) if parsed.rows else 0
        self._quarantine(parsed.rows, results, faults, loaded_at)
        took = {"seconds": time.monotonic() - began, "loaded_at": datetime.fromisoformat(loaded_at)}
        self.files.enter({file: row | took for file, row in results.items()})
        self.files.keep_waiting({f: e.reason for f, e in faults.items() if e.status == UNREADABLE})
        self.rows.forget()
        failing = ((f, e) for f, e in faults.items() if e.status != CORRUPT)
        refused = tuple(f"{file.file} is {_told(fault)}" for file, fault in failing)
        return replace(_counts(results, keys), refused=refused)

    def _results(self, files: Sequence[LakeFile], parsed: Parsed) -> Results:
        """One result per file. Raises ReconciliationError if a row belongs to none of the files."""
        counted = count_rows(parsed.rows).collect() if parsed.rows else []
        counts = {row["file"]: row.asDict() for row in counted}
        read = {f: counts.pop(f.file, {}) for f in files if f not in parsed.faults}
        results = {f: _result("loaded", *map(row.get, _NUMBERS)) for f, row in read.items()}
        there = sum(row["valid"] + row["quarantined"] for row in results.values())
        if counts or there != parsed.read:
            raise ReconciliationError(
                f"{self.name}: {parsed.read} rows read are not the {there} valid and quarantined "
                f"rows of the same files. {_CHANGING}"
            )
        if parsed.rows and self.source.rules:
            self._enter_rules(results, rule_counts(parsed.rows, ["file"]))
        return results

    def _enter_rules(self, results: Results, rules: Mapping[tuple[Any, ...], RuleCounts]) -> None:
        for file, result in results.items():
            result["rules"] = rules.get((file.file,), [])
            for rule, action, count in result["rules"]:
                text = "%s: %d row(s) of %s break rule %s (%s)"
                _log.warning(text, self.name, count, file.file, rule, action)

    def _ruled(self, rows: DataFrame, files: int) -> DataFrame:
        """Applies the rules to the rows. Raises InputError if a row breaks a rule with `fail`."""
        ruled, rules = with_rules(rows, self.source, self._erased), self.source.rule_set
        broken = failed_rules(ruled, rules, ["file"])
        require_unbroken(f"{self.name}, {self.source.table}", f"{files} file(s)", rules, broken)
        return ruled

    def _lacks_warnings_only(self) -> bool:
        """Whether `_warnings` is the only column that the table lacks."""
        table = lake_table(self.source)
        if not self.lakehouse.exists(table.name):
            return False
        present = self.lakehouse.read(table.name).columns
        return set(table.column_names).difference(present) == {WARNINGS.name}

    def _merge(self, rows: DataFrame) -> int:
        """Merges the last valid row per key. Returns the number of keys, checked in the table."""
        spec, keys = lake_table(self.source), list(self.source.keys)
        latest = last_of_each(rows, self.source)
        self.lakehouse.merge(latest, spec)
        latest = self.lakehouse.rows_of(latest, spec)
        table = self.lakehouse.read(self.source.table).select(*keys, F.lit(1).alias("_there"))
        merged = latest.select(keys).join(table, keys, "left")
        count, there = merged.agg(F.count(F.lit(1)), F.count("_there")).collect()[0]
        if count != there:
            raise ReconciliationError(
                f"{self.name}: of {count} keys only {there} are in {self.source.table}. {_CHANGING}"
            )
        return int(count)

    def _quarantine(
        self, rows: DataFrame | None, results: Results, faults: Faults, loaded_at: str
    ) -> None:
        """Replaces the rows of the files in the quarantine."""
        spec = lake_quarantine(self.quarantine)
        files = [file.file for file in results]
        is_of_files = (F.col("source") == self.name) & F.col("file").isin(files)
        present = self.lakehouse.read(self.quarantine).where(is_of_files)
        count = sum(row["quarantined"] for row in results.values())
        if count or present.limit(1).collect():
            when = datetime.fromisoformat(loaded_at)
            whole = [
                (self.name, file.file, None, str(_CODES[fault.status]), fault.reason, when)
                for file, fault in faults.items()
                if fault.status in _CODES
            ]
            rejected = self.lakehouse.frame(whole, spec)
            if rows:
                found = self._without_erased(rejected_rows(rows, self.name, loaded_at))
                rejected = rejected.union(found.select(spec.column_names))
            self.lakehouse.replace_where(rejected, spec, is_of_files)
        there = present.count() if count else 0
        if there != count:
            raise ReconciliationError(
                f"{self.name}: {there} of {count} rejected rows are in {self.quarantine}. "
                f"{_CHANGING}"
            )

    @cached_property
    def _erased(self) -> ErasedUsers | None:
        """The erased users, read once per load. None without users or user columns."""
        return self.lakehouse.erased_users() if self.source.persons else None

    def _without_erased(self, rejected: DataFrame) -> DataFrame:
        """The rejected rows; those that name an erased user have no text and no value."""
        if self._erased is None:
            return rejected
        is_erased = self._erased.any_named(partial(row_users, self.source), F.col(_ROW_TEXT))
        hidden = {
            _ROW_TEXT: F.when(~is_erased, F.col(_ROW_TEXT)),
            ERROR_MESSAGE.name: F.when(is_erased, F.lit(_OF_ERASED)).otherwise(
                F.col(ERROR_MESSAGE.name)
            ),
        }
        return rejected.withColumns(hidden)


def lake_load(
    name: str, lake: LakeParams, folder: str, checkpoints: str, lakehouse: Lakehouse
) -> LakeLoad:
    """The loader of the files in `folder` that belong to the source `name`."""
    # The name has a dot, so it is never the name of a stream.
    source, own = lake.sources[name], f"{checkpoints}/lake.{name}"
    pattern = f"{folder}/{source.path}"
    files = LakeFiles(name, source, pattern, lake.file_log, own, lakehouse, lake.file_discovery)
    limits = TextLimits(lake.max_line_bytes, lake.max_unpacked_bytes, lakehouse.spark)
    rows = LakeRows(name, source, lakehouse.spark, f"{own}.rows", limits)
    return LakeLoad(name, source, files, rows, lake.quarantine, lakehouse)


def lake_folder(params: LakeParams, lakehouse: str | None) -> str:
    """The folder of the files: the declared one, else `lake` below the local lakehouse."""
    if params.folder or lakehouse:
        return params.folder or f"{lakehouse}/lake"
    raise ConfigError("No folder of lake files: set lake.folder in conf.")


def _told(fault: Fault) -> str:
    """What happens to a file with the fault, as a sentence."""
    return f"{_FATES[fault.status]}: {fault.reason}"


def _result(
    status: str, rows: int | None = 0, valid: int | None = 0, quarantined: int | None = 0
) -> Row:
    numbers = zip(_NUMBERS, (rows, valid, quarantined), strict=True)
    return {"status": status, **{name: number or 0 for name, number in numbers}}


def _counts(results: Results, keys: int) -> LakeCounts:
    rows = list(results.values())
    status = Counter(row["status"] for row in rows)
    read, valid, quarantined = (sum(row[name] for row in rows) for name in _NUMBERS)
    return LakeCounts(status["loaded"], read, valid, quarantined, keys, status["corrupt"])
