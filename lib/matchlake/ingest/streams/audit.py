"""The batch log: records each batch, and checks that the table accounts for every offset."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Any, NamedTuple

from pyspark.sql import Column, DataFrame, Row
from pyspark.sql import functions as F

from matchlake.errors import ReconciliationError
from matchlake.ingest.params import StreamParams
from matchlake.ingest.rejections import ErrorCode
from matchlake.ingest.row_rules import RuleCounts, rule_counts
from matchlake.ingest.rules import WARNINGS
from matchlake.ingest.streams.audit_table import batch_log_table, count_error_codes, count_rows
from matchlake.ingest.streams.checkpoint import Ranges
from matchlake.ingest.streams.commits import Commit, commits
from matchlake.ingest.streams.entries import (
    Counts,
    Entry,
    Key,
    accepted_entry,
    batch_of,
    counts_of,
    found_counts,
    planned_entry,
    summed,
)
from matchlake.ingest.streams.gaps import FindCauses, accept_all, no_cause
from matchlake.ingest.streams.offsets import Offsets, missing_ranges, problems, without
from matchlake.ingest.streams.reconciliation import (
    BY,
    COMPARED,
    COUNTED,
    STATUSES,
    Batch,
    CountedBatches,
    LogState,
    among,
    compared,
    differs,
    is_unlinked,
    is_unsettled,
    linked,
    size_of_gaps,
    topic_of_rows,
    unlinked_message,
)
from matchlake.io.delta import Lakehouse
from matchlake.io.telemetry import count
from matchlake.schemas import quote_text

_SHOWN = 10


class ReconciliationReport(NamedTuple):
    """The result of a reconciliation."""

    entered: Counts
    """The counts of the batches that it added to the batch log."""
    total: Counts
    """The counts of all batches of the stream."""


@dataclass(frozen=True)
class BatchLog:
    """The rows of one stream in the batch log `table`."""

    name: str
    stream: StreamParams
    table: str
    lakehouse: Lakehouse = field(repr=False)

    def prepare(self) -> None:
        """Creates the table, or adds new columns. Raises TableError if it has other columns."""
        self.lakehouse.create(batch_log_table(self.table), add_columns=True)

    def rows(self) -> DataFrame:
        """The rows of the stream. Lazy."""
        return self.lakehouse.read(self.table).where(F.col("stream") == self.name)

    def update(self, find_causes: FindCauses, *, rebuild: bool = False) -> Counts:
        """Adds the batches that are in the history of the table and not in the log.

        With `rebuild` it adds all batches again. Known gaps stay. Offsets without a row and
        without a gap are checked again each time. `find_causes` is called for offsets that a batch
        never wrote. It is not called for rows that a batch wrote and that were lost: the broker may
        have removed these records, too. A second call changes nothing.

        Raises:
            ReconciliationError: a batch lacks rows, and `find_causes` has no cause; or a batch
                does not begin where the previous one ended. The log holds what was found.
        """
        counts, _ = self._enter(self._log_state(), find_causes, rebuild=rebuild)
        if self._unlinked():
            self._forget_superseded()
            if messages := self._unlinked():
                raise self._error(messages)
        return counts

    def recount(self, batches: set[Batch]) -> Counts:
        """Counts the rows of batches again, after a change of rows."""
        return self._write(list(self._entries(self._recounted(among(batches))).values()), no_cause)

    def accept_losses(self) -> Counts:
        """Records all rows that are missing now as accepted gaps."""
        lost = self._entries(self._recounted().where(differs()))
        return self._write(list(lost.values()), accept_all)

    def accept_unwritten(self, restart: Commit, unwritten: Ranges) -> None:
        """Records ranges that were read, but are in no batch of the table, as accepted gaps.

        They become one batch after those of the checkpoint that read them. Ranges that the log
        has already are left out, so a second call changes nothing. `restart` is the commit that
        accepts the loss.
        """
        metadata = restart.metadata
        topic, checkpoint = metadata.get("topic_id"), metadata["previous_checkpoint"]
        known = self.rows().where(topic_of_rows() == (topic or str(checkpoint)))
        newest_ends = known.groupBy("partition").agg(F.max("end_offset")).collect()
        ends: dict[int, int] = dict(map(tuple, newest_ends))
        ranges = {part: (max(a, ends.get(part, a)), b) for part, (a, b) in unwritten.items()}
        if all(first >= end for first, end in ranges.values()):
            return
        is_own = F.col("checkpoint_id") == checkpoint
        newest = self.rows().where(is_own).agg(F.max("batch_id")).collect()[0][0]
        number = 0 if newest is None else newest + 1
        entries = [
            accepted_entry(restart, number, part, first, max(first, end))
            for part, (first, end) in ranges.items()
        ]
        self._write(entries, no_cause)

    def forget(self, checkpoint: int, batch: int) -> None:
        """Deletes `batch` and all later batches from the log. Their rows are already deleted."""
        self.lakehouse.spark.sql(
            f"DELETE FROM {self.lakehouse.name(self.table)} WHERE stream = {quote_text(self.name)}"
            f" AND checkpoint_id = {checkpoint:d} AND batch_id >= {batch:d}"
        )

    def reconcile(
        self, find_causes: FindCauses | None = None, *, rebuild: bool = False
    ) -> ReconciliationReport:
        """Checks that every offset in the log has one row, or lies in a gap with a known cause.

        A row is valid, quarantined or erased. With `find_causes` it first adds new batches, as
        `update` does, and checks that version of the table: commits that a running stream makes
        later are left out. One pass over the table counts each row once.

        Raises:
            ReconciliationError: an offset is not accounted for; the message names the ranges.
        """
        if find_causes is None:
            return ReconciliationReport(Counts(), self._compare(None, None, None))
        before = self._log_state()
        version = self.lakehouse.version(self.stream.table)
        entered, counted = self._enter(before, find_causes, rebuild=rebuild, version=version)
        # If the log knows a later version, another table has replaced this one.
        newest = max(version, before.version)
        return ReconciliationReport(entered, self._compare(version, counted, newest))

    def checkpoints(self) -> list[int]:
        """The checkpoints with batches in the log."""
        return [row[0] for row in self.rows().select("checkpoint_id").distinct().collect()]

    def gaps(self) -> dict[str, int]:
        """The number of offsets in gaps, by cause."""
        each = self.rows().select(F.explode("gaps").alias("gap")).groupBy("gap.cause")
        size = F.sum(F.col("gap.end_offset") - F.col("gap.first_offset"))
        return {row[0]: int(row[1]) for row in each.agg(size).orderBy("cause").collect()}

    def _compare(
        self, version: int | None, counted: CountedBatches | None, newest: int | None
    ) -> Counts:
        """The counts of the log; raises ReconciliationError if the table at a version differs."""
        total, messages = self._compared(version, counted, newest)
        if messages:  # perhaps only of what a stale run has entered
            self._forget_superseded()
            total, messages = self._compared(version, counted, newest)
        if messages:
            raise self._error(messages)
        return total

    def _compared(
        self, version: int | None, counted: CountedBatches | None, newest: int | None
    ) -> tuple[Counts, list[str]]:
        """The counts of the log without later batches, and what differs from the table."""
        is_checked = F.lit(True)  # noqa: FBT003 - a condition, not a flag
        if newest is not None:
            is_checked = F.coalesce(F.col("table_version"), F.lit(0)) <= newest
        rows = self.lakehouse.read(self.stream.table, version)
        counts = self._counted(rows if counted is None else rows.where(counted.excludes))
        if counted:
            spark = self.lakehouse.spark
            counts = counts.unionByName(spark.createDataFrame(counted.counts, counts.schema))
        both = compared(linked(self.rows()), counts, COMPARED)
        wrong = F.count_if(is_checked & differs()) + F.count_if(is_unlinked())
        offsets = F.col("end_offset") - F.col("first_offset")
        parts = (offsets, *map(F.col, STATUSES[1:]), size_of_gaps())
        sums = [F.sum(F.when(is_checked, part)) for part in parts]
        count, *totals = both.agg(wrong, *sums).collect()[0]
        messages = []
        if count:  # no messages: another run has logged the missing batches meanwhile
            different = both.where(is_checked & differs()).orderBy(*BY).limit(_SHOWN).collect()
            messages = [problem for row in different for problem in self._differences(row)]
            messages += self._unlinked()
        return Counts(*(int(number or 0) for number in totals)), messages

    def _unlinked(self) -> list[str]:
        """Messages for the batches that do not begin where the previous one ended."""
        rows = linked(self.rows()).where(is_unlinked()).orderBy(*BY).limit(_SHOWN).collect()
        return [unlinked_message(row) for row in rows]

    def _forget_superseded(self) -> None:
        """Deletes superseded batches: a stale run may have added them after the restart."""
        for commit in commits(self.lakehouse.spark, self.lakehouse.name(self.stream.table)):
            if commit.metadata.get("stream") == self.name:
                for checkpoint, batch in commit.superseded_batches.items():
                    self.forget(checkpoint, batch)

    def _enter(
        self,
        before: LogState,
        find_causes: FindCauses,
        *,
        rebuild: bool,
        version: int | None = None,
    ) -> tuple[Counts, CountedBatches | None]:
        """Adds the commits up to `version`. Returns their counts, and the counted batches."""
        last, unsettled, _ = before
        new = list(takewhile(lambda at: rebuild or batch_of(at) != last, self._batches(version)))
        if rebuild or unsettled:
            self._forget_superseded()
        entries: dict[Key, Entry] = {}
        if unsettled:
            new += [commit for commit in self._batches(version) if batch_of(commit) in unsettled]
            again = self._entries(self._recounted(among(unsettled)).where(is_unsettled()))
            entries = {key: {**row, "whole": False} for key, row in again.items()}
        counted = self._count(new, version) if new else None
        if counted:
            known = self._known_gaps(new) if last else {}
            entries |= self._planned_in(new, counted, known)
        return self._write(list(entries.values()), find_causes), counted

    def _count(self, batches: list[Commit], version: int | None) -> CountedBatches:
        """Counts the rows with the numbers of these batches, of any checkpoint."""
        numbers = [commit.metadata["batch"] for commit in batches]
        counted = CountedBatches(min(numbers), max(numbers), [])
        rows = self.lakehouse.read(self.stream.table, version).where(counted.includes)
        return counted._replace(counts=self._counted(rows).collect())

    def _log_state(self) -> LogState:
        batch = F.struct("checkpoint_id", "batch_id")
        newest = F.max_by(batch, F.struct("committed_at", "batch_id"))
        unsettled = F.collect_set(F.when(is_unsettled(), batch))
        row = self.rows().agg(newest, unsettled, F.max("table_version")).collect()[0]
        last, left, version = row
        return LogState(last and (last[0], last[1]), {(a, b) for a, b in left}, version or 0)

    def _batches(self, version: int | None) -> Iterator[Commit]:
        """The commits of batches up to a version, newest first, without superseded ones."""
        superseded: dict[int, int] = {}
        for commit in commits(self.lakehouse.spark, self.lakehouse.name(self.stream.table)):
            later = version is not None and commit.version > version
            if later or commit.metadata.get("stream") != self.name:
                continue
            for checkpoint, first in commit.superseded_batches.items():
                superseded[checkpoint] = min(first, superseded.get(checkpoint, first))
            if commit.batch is None:
                continue
            if commit.batch < superseded.get(commit.metadata["checkpoint"], commit.batch + 1):
                yield commit

    def _known_gaps(self, batches: list[Commit]) -> dict[Key, list[Row]]:
        rows = self.rows().where(among({batch_of(commit) for commit in batches}))
        return {tuple(row[:3]): row.gaps for row in rows.select(*BY, "gaps").collect()}

    def _planned_in(
        self, batches: list[Commit], counted: CountedBatches, known: Mapping[Key, list[Row]]
    ) -> dict[Key, Entry]:
        """The entries of commits, with the counts of their rows and the `known` gaps."""
        counts = {tuple(row[:3]): row.asDict() for row in counted.counts}
        totals = Counter[Key]()
        for key, row in counts.items():
            totals[key[:2]] += row["read"]
        entries = {}
        for commit in batches:
            whole = commit.rows in (None, totals[batch_of(commit)])
            for part in commit.offsets:
                key = (*batch_of(commit), part)
                planned = planned_entry(commit, part)
                planned |= {"gaps": known.get(key) or [], "whole": whole}
                entries[key] = planned | found_counts(counts.get(key))
        return entries

    def _write(self, entries: list[Entry], find_causes: FindCauses) -> Counts:
        if not entries:
            return Counts()
        batches = {(entry["checkpoint_id"], entry["batch_id"]) for entry in entries}
        codes: dict[Key, list[tuple[str, int]]] = {}
        if any(entry["quarantined"] for entry in entries):
            rows = self.lakehouse.read(self.stream.table).where(among(batches))
            for *key, code, records in count_error_codes(rows).orderBy("error_code").collect():
                codes.setdefault(tuple(key), []).append((code, records))
        rules = self._broken_rules(batches, codes)
        messages = []
        for entry in entries:
            entry["rules"] = rules.get(tuple(entry[name] for name in BY), [])
            entry["error_codes"] = codes.get(tuple(entry[name] for name in BY), [])
            if self.stream.lateness_threshold_seconds is None:
                entry["late"] = None
            messages += self._settle(entry, find_causes)
        spec = batch_log_table(self.table)
        values = [tuple(entry[name] for name in spec.column_names) for entry in entries]
        frame = self.lakehouse.frame(values, spec)
        self.lakehouse.merge(frame, spec, retry_on_conflict=True)
        if messages:
            raise self._error(messages)
        counts = summed(counts_of(entry) for entry in entries)
        for name in ("offsets", "valid", "quarantined", "gaps"):
            count(f"matchlake.batch.{name}", getattr(counts, name), stream=self.name)
        count("matchlake.batch.bytes", sum(e["bytes"] or 0 for e in entries), stream=self.name)
        return counts

    def _broken_rules(
        self, batches: set[Batch], codes: Mapping[Key, list[tuple[str, int]]]
    ) -> dict[Key, RuleCounts]:
        """The rules that rows of the batches break; `codes` are the error codes of the rows."""
        rows = self.lakehouse.read(self.stream.table)
        found = {code for each in codes.values() for code, _ in each}
        if ErrorCode.BROKEN_RULE not in found and WARNINGS.name not in rows.columns:
            return {}
        return rule_counts(rows.where(among(batches)), BY)

    def _settle(self, entry: Entry, find_causes: FindCauses) -> list[str]:
        """Records missing ranges with a cause as gaps. Returns the remaining problems."""
        gaps = entry["gaps"] = [tuple(gap) for gap in entry["gaps"]]
        first, end, read = entry["first_offset"], entry["end_offset"], entry["read"]
        inside = not read or (entry["lowest"] >= first and entry["highest"] < end)
        if inside and read == entry["distinct"] == end - first - sum(b - a for _, a, b in gaps):
            return []
        offsets = self._offsets(entry)
        missing = without(missing_ranges(offsets, first, end), gaps)
        causes_of = find_causes if missing and entry.get("whole", True) else no_cause
        new = causes_of(entry["topic_id"], entry["partition"], missing)
        known = [(str(cause), a, b) for cause, a, b in new]
        entry["gaps"] = sorted([*gaps, *known], key=lambda gap: gap[1])
        return list(problems(entry, offsets))

    def _counted(self, rows: DataFrame) -> DataFrame:
        return count_rows(rows, self.stream).select(*BY, *COUNTED)

    def _recounted(self, where: Column | None = None) -> DataFrame:
        """The rows of the log, each with the counts that are `found` in the table now, or null."""
        entered, rows = self.rows(), self.lakehouse.read(self.stream.table)
        if where is not None:
            entered, rows = entered.where(where), rows.where(where)
        return compared(entered, self._counted(rows), COUNTED)

    def _entries(self, both: DataFrame) -> dict[Key, Entry]:
        """The entries of compared rows that are in the log, with their current counts."""
        rows = both.where("stream IS NOT NULL").collect()
        return {tuple(row[name] for name in BY): self._entry(row) for row in rows}

    def _entry(self, row: Row) -> Entry:
        return {**row.asDict(), "gaps": row.gaps or [], **found_counts(row.found)}

    def _differences(self, row: Row) -> Iterator[str]:
        where = f"partition {row.partition}, batch {row.batch_id} of checkpoint {row.checkpoint_id}"
        if row.stream is None:
            yield (
                f"{where}: {row.found.read} rows from offset {row.found.lowest} to "
                f"{row.found.highest} that the batch log does not have"
            )
            return
        entry = self._entry(row)
        messages = list(problems(entry, self._offsets(entry)))
        yield from messages
        if not messages:
            logged, present = (
                ", ".join(f"{each[name]} {name}" for name in STATUSES)
                for each in (row.asDict(), entry)
            )
            yield f"{where}: the batch log has {logged}, but the table has {present}"

    def _offsets(self, entry: Mapping[str, Any]) -> Offsets:
        rows = self.lakehouse.read(self.stream.table)
        for name in BY:
            rows = rows.where(F.col(name) == entry[name])
        offsets: Offsets = rows.select("offset").toArrow().column(0).to_numpy()
        return offsets

    def _error(self, messages: list[str]) -> ReconciliationError:
        more = f"; and {len(messages) - _SHOWN} more" if len(messages) > _SHOWN else ""
        return ReconciliationError(
            f"{self.stream.table} does not hold every record of topic {self.stream.topic} exactly "
            f"once: {'; '.join(messages[:_SHOWN])}{more}."
        )
