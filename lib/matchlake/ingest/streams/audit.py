"""Keeps the ledger of ingested batches, and proves from it and the table that nothing is lost."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Any, NamedTuple

from pyspark.sql import Column, DataFrame, Row
from pyspark.sql import functions as F

from matchlake.errors import ReconciliationError
from matchlake.ingest.params import StreamParams
from matchlake.ingest.streams.audit_table import count_reasons, count_rows, ledger_table
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
from matchlake.ingest.streams.gaps import Explain, all_adopted, no_reason
from matchlake.ingest.streams.offsets import Offsets, missing_ranges, problems, without
from matchlake.ingest.streams.reconciliation import (
    BY,
    FOUND,
    PROVED,
    STATUSES,
    Batch,
    Entered,
    Seen,
    among,
    compared,
    differs,
    is_unlinked,
    is_unsettled,
    linked,
    size_of_gaps,
    topic_of_rows,
    unlinked_told,
)
from matchlake.io.delta import Lakehouse
from matchlake.schemas import quote_text

_SHOWN = 10


class Proof(NamedTuple):
    """What was entered in the ledger, and what all of it adds up to."""

    entered: Counts
    whole: Counts


@dataclass(frozen=True)
class Ledger:
    """The rows of one stream in the ledger `table`."""

    name: str
    stream: StreamParams
    table: str
    lakehouse: Lakehouse = field(repr=False)

    def prepare(self) -> None:
        """Creates the ledger where it is missing; raises TableError at another shape."""
        self.lakehouse.create(ledger_table(self.table))

    def rows(self) -> DataFrame:
        """The stream's rows; lazy."""
        return self.lakehouse.read(self.table).where(F.col("stream") == self.name)

    def update(self, explain: Explain, *, rebuild: bool = False) -> Counts:
        """Enters the batches that the table's history has and the ledger has not yet.

        Rewrites all on `rebuild`. Gaps that are entered already are kept; offsets that are
        entered without a row and without a gap are looked at again each time. `explain` is asked
        of what a batch never wrote, not of rows that it wrote and that are gone: the broker may
        have removed those as well by now. Run again, it changes nothing.

        Raises:
            ReconciliationError: a batch's rows are not those that it was to read, and `explain`
                has no reason for it, or do not begin where the batch before ended. The ledger
                holds what was found.
        """
        counts, _ = self._enter(self._entered(), explain, rebuild=rebuild)
        if self._relinked() and (told := self._unlinked()):
            raise self._error(told)
        return counts

    def renew(self, batches: set[Batch]) -> Counts:
        """Counts batches, by checkpoint and number, again: rows of theirs have changed."""
        return self._write(list(self._entries(self._recounted(among(batches))).values()), no_reason)

    def accept_losses(self) -> Counts:
        """Enters everything that is missing now as a gap."""
        lost = self._entries(self._recounted().where(differs()))
        return self._write(list(lost.values()), all_adopted)

    def accept_unwritten(self, begun: Commit, unwritten: Ranges) -> None:
        """Enters ranges that were read, and are in no batch of the table, as one batch of gaps.

        Only what the log has no batch of, so a second call changes nothing. The batch follows
        those of the checkpoint that read them. `begun` is the commit that accepts the loss.
        """
        topic, before = begun.told.get("topic_id"), begun.told["before"]
        known = self.rows().where(topic_of_rows() == (topic or str(before)))
        newest_ends = known.groupBy("partition").agg(F.max("end_offset")).collect()
        ends: dict[int, int] = dict(map(tuple, newest_ends))
        ranges = {part: (max(a, ends.get(part, a)), b) for part, (a, b) in unwritten.items()}
        if all(first >= end for first, end in ranges.values()):
            return
        is_own = F.col("checkpoint_id") == before
        newest = self.rows().where(is_own).agg(F.max("batch_id")).collect()[0][0]
        number = 0 if newest is None else newest + 1
        entries = [
            accepted_entry(begun, number, part, first, max(first, end))
            for part, (first, end) in ranges.items()
        ]
        self._write(entries, no_reason)

    def forget(self, checkpoint: int, batch: int) -> None:
        """Takes out the batches from `batch` on, because their rows are taken out of the table."""
        self.lakehouse.spark.sql(
            f"DELETE FROM {self.lakehouse.name(self.table)} WHERE stream = {quote_text(self.name)}"
            f" AND checkpoint_id = {checkpoint:d} AND batch_id >= {batch:d}"
        )

    def prove(self, explain: Explain, *, rebuild: bool = False) -> Proof:
        """Enters what is committed now, as `update`, and reconciles that; raises what these raise.

        What a stream that is under way commits meanwhile is not looked at. Each row is counted
        once: what is counted for the ledger is that of the proof.
        """
        before = self._entered()
        version = self.lakehouse.version(self.stream.table)
        entered, seen = self._enter(before, explain, rebuild=rebuild, version=version)
        self._relinked()
        # A batch of a later version was there already: another table stands in this one's place.
        return Proof(entered, self._reconcile(version, seen, max(version, before.version)))

    def reconcile(self) -> Counts:
        """Proves from table and ledger alone that each offset is in exactly one place.

        From the first offset on that the ledger has, each is that of one row, good, quarantined
        or erased, or in a gap whose reason is known. One pass over the table.

        Raises:
            ReconciliationError: it is not so; names the ranges.
        """
        return self._reconcile(None, None, None)

    def _reconcile(self, version: int | None, seen: Seen | None, last: int | None) -> Counts:
        """As `reconcile`, of the table at a version, without batches that came after the `last`.

        Rows of that version that were `seen` are not counted again.
        """
        by_then = F.lit(True)  # noqa: FBT003 - a condition, not a flag
        if last is not None:
            by_then = F.coalesce(F.col("table_version"), F.lit(0)) <= last
        rows = self.lakehouse.read(self.stream.table, version)
        counted = self._counted(rows if seen is None else rows.where(seen.has_not))
        if seen:
            spark = self.lakehouse.spark
            counted = counted.unionByName(spark.createDataFrame(seen.counts, counted.schema))
        both = compared(linked(self.rows()), counted, PROVED)
        wrong = F.count_if(by_then & differs()) + F.count_if(is_unlinked())
        offsets = F.col("end_offset") - F.col("first_offset")
        parts = (offsets, *map(F.col, STATUSES[1:]), size_of_gaps())
        sums = [F.sum(F.when(by_then, part)) for part in parts]
        count, *found = both.agg(wrong, *sums).collect()[0]
        if count:
            different = both.where(by_then & differs()).orderBy(*BY).limit(_SHOWN).collect()
            told = [problem for row in different for problem in self._differences(row)]
            told += self._unlinked()
            if told:  # else another run has entered meanwhile what was missing
                raise self._error(told)
        return Counts(*(int(number or 0) for number in found))

    def _unlinked(self) -> list[str]:
        """Which batches do not begin at the offset at which the one before ended, in words."""
        rows = linked(self.rows()).where(is_unlinked()).orderBy(*BY).limit(_SHOWN).collect()
        return [unlinked_told(row) for row in rows]

    def _relinked(self) -> bool:
        """Whether batches did not link up until what a stale run had entered was taken out."""
        unlinked = bool(self._unlinked())
        if unlinked:
            self._forget_undone()
        return unlinked

    def _forget_undone(self) -> None:
        """Takes out batches that a way out has undone: a stale run may have entered them after."""
        for commit in commits(self.lakehouse.spark, self.lakehouse.name(self.stream.table)):
            if commit.told.get("stream") == self.name:
                for checkpoint, batch in commit.undone.items():
                    self.forget(checkpoint, batch)

    def checkpoints(self) -> list[int]:
        """The checkpoints of which the ledger has batches."""
        return [row[0] for row in self.rows().select("checkpoint_id").distinct().collect()]

    def gaps(self) -> dict[str, int]:
        """How many offsets are without a row, by reason."""
        each = self.rows().select(F.explode("gaps").alias("gap")).groupBy("gap.reason")
        size = F.sum(F.col("gap.end_offset") - F.col("gap.first_offset"))
        return {row[0]: int(row[1]) for row in each.agg(size).orderBy("reason").collect()}

    def _enter(
        self, before: Entered, explain: Explain, *, rebuild: bool, version: int | None = None
    ) -> tuple[Counts, Seen | None]:
        """As `update`, of the commits up to `version`, and what it saw of the table as of then."""
        last, unsettled, _ = before
        new = list(takewhile(lambda at: rebuild or batch_of(at) != last, self._batches(version)))
        if rebuild:
            self._forget_undone()
        entries: dict[Key, Entry] = {}
        if unsettled:
            new += [commit for commit in self._batches(version) if batch_of(commit) in unsettled]
            again = self._entries(self._recounted(among(unsettled)).where(is_unsettled()))
            entries = {key: {**row, "whole": False} for key, row in again.items()}
        seen = self._see(new, version) if new else None
        if seen:
            known = self._known_gaps(new) if last else {}
            entries |= self._planned_in(new, seen, known)
        return self._write(list(entries.values()), explain), seen

    def _see(self, batches: list[Commit], version: int | None) -> Seen:
        """Counts the rows that have the numbers of these batches, whatever their checkpoint."""
        numbers = [commit.told["batch"] for commit in batches]
        seen = Seen(min(numbers), max(numbers), [])
        rows = self.lakehouse.read(self.stream.table, version).where(seen.has)
        return seen._replace(counts=self._counted(rows).collect())

    def _entered(self) -> Entered:
        batch = F.struct("checkpoint_id", "batch_id")
        newest = F.max_by(batch, F.struct("committed_at", "batch_id"))
        unsettled = F.collect_set(F.when(is_unsettled(), batch))
        found = self.rows().agg(newest, unsettled, F.max("table_version")).collect()[0]
        last, left, version = found
        return Entered(last and (last[0], last[1]), {(a, b) for a, b in left}, version or 0)

    def _batches(self, version: int | None) -> Iterator[Commit]:
        """The commits of batches up to a version, newest first; not what a new beginning undid."""
        undone: dict[int, int] = {}
        for commit in commits(self.lakehouse.spark, self.lakehouse.name(self.stream.table)):
            later = version is not None and commit.version > version
            if later or commit.told.get("stream") != self.name:
                continue
            for checkpoint, first in commit.undone.items():
                undone[checkpoint] = min(first, undone.get(checkpoint, first))
            if commit.batch is None:
                continue
            if commit.batch < undone.get(commit.told["checkpoint"], commit.batch + 1):
                yield commit

    def _known_gaps(self, batches: list[Commit]) -> dict[Key, list[Row]]:
        rows = self.rows().where(among({batch_of(commit) for commit in batches}))
        return {tuple(row[:3]): row.gaps for row in rows.select(*BY, "gaps").collect()}

    def _planned_in(
        self, batches: list[Commit], seen: Seen, known: Mapping[Key, list[Row]]
    ) -> dict[Key, Entry]:
        """What commits say of their batches, with what is in the table and the `known` gaps."""
        found = {tuple(row[:3]): row.asDict() for row in seen.counts}
        there = Counter[Key]()
        for key, row in found.items():
            there[key[:2]] += row["read"]
        entries = {}
        for commit in batches:
            whole = commit.rows in (None, there[batch_of(commit)])
            for part in commit.offsets:
                key = (*batch_of(commit), part)
                planned = planned_entry(commit, part)
                planned |= {"gaps": known.get(key) or [], "whole": whole}
                entries[key] = planned | found_counts(found.get(key))
        return entries

    def _write(self, entries: list[Entry], explain: Explain) -> Counts:
        if not entries:
            return Counts()
        batches = {(entry["checkpoint_id"], entry["batch_id"]) for entry in entries}
        reasons: dict[Key, list[tuple[str, int]]] = {}
        if any(entry["quarantined"] for entry in entries):
            rows = self.lakehouse.read(self.stream.table).where(among(batches))
            for *key, reason, records in count_reasons(rows).orderBy("reason").collect():
                reasons.setdefault(tuple(key), []).append((reason, records))
        told = []
        for entry in entries:
            entry["reasons"] = reasons.get(tuple(entry[name] for name in BY), [])
            entry["late"] = None if self.stream.late_after is None else entry["late"]
            told += self._settle(entry, explain)
        spec = ledger_table(self.table)
        values = [tuple(entry[name] for name in spec.column_names) for entry in entries]
        frame = self.lakehouse.frame(values, spec)
        self.lakehouse.merge(frame, spec, retry_on_conflict=True)
        if told:
            raise self._error(told)
        return summed(counts_of(entry) for entry in entries)

    def _settle(self, entry: Entry, explain: Explain) -> list[str]:
        """Enters what is missing as gaps where there is a reason; tells what is left."""
        gaps = entry["gaps"] = [tuple(gap) for gap in entry["gaps"]]
        first, end, read = entry["first_offset"], entry["end_offset"], entry["read"]
        inside = not read or (entry["lowest"] >= first and entry["highest"] < end)
        if inside and read == entry["distinct"] == end - first - sum(b - a for _, a, b in gaps):
            return []
        offsets = self._offsets(entry)
        missing = without(missing_ranges(offsets, first, end), gaps)
        ask = explain if missing and entry.get("whole", True) else no_reason
        found = ask(entry["topic_id"], entry["partition"], missing)
        known = [(str(reason), a, b) for reason, a, b in found]
        entry["gaps"] = sorted([*gaps, *known], key=lambda gap: gap[1])
        return list(problems(entry, offsets))

    def _counted(self, rows: DataFrame) -> DataFrame:
        return count_rows(rows, self.stream).select(*BY, *FOUND)

    def _recounted(self, where: Column | None = None) -> DataFrame:
        """The ledger's rows, each with what is `found` in the table now; each may be null."""
        entered, rows = self.rows(), self.lakehouse.read(self.stream.table)
        if where is not None:
            entered, rows = entered.where(where), rows.where(where)
        return compared(entered, self._counted(rows), FOUND)

    def _entries(self, both: DataFrame) -> dict[Key, Entry]:
        """Of compared rows those that the ledger has, as they are found now."""
        rows = both.where("stream IS NOT NULL").collect()
        return {tuple(row[name] for name in BY): self._entry(row) for row in rows}

    def _entry(self, row: Row) -> Entry:
        return {**row.asDict(), "gaps": row.gaps or [], **found_counts(row.found)}

    def _differences(self, row: Row) -> Iterator[str]:
        where = f"partition {row.partition}, batch {row.batch_id} of checkpoint {row.checkpoint_id}"
        if row.stream is None:
            yield (
                f"{where}: {row.found.read} rows from offset {row.found.lowest} to "
                f"{row.found.highest} that the ledger does not know"
            )
            return
        entry = self._entry(row)
        told = list(problems(entry, self._offsets(entry)))
        yield from told
        if not told:
            says, has = (
                ", ".join(f"{each[name]} {name}" for name in STATUSES)
                for each in (row.asDict(), entry)
            )
            yield f"{where}: the ledger says {says}, but the table has {has}"

    def _offsets(self, entry: Mapping[str, Any]) -> Offsets:
        rows = self.lakehouse.read(self.stream.table)
        for name in BY:
            rows = rows.where(F.col(name) == entry[name])
        found: Offsets = rows.select("offset").toArrow().column(0).to_numpy()
        return found

    def _error(self, told: list[str]) -> ReconciliationError:
        more = f"; and {len(told) - _SHOWN} more" if len(told) > _SHOWN else ""
        return ReconciliationError(
            f"{self.stream.table} does not hold every record of topic {self.stream.topic} exactly "
            f"once: {'; '.join(told[:_SHOWN])}{more}."
        )
