"""Keeps the ledger of ingested batches, and proves from it and the table that nothing is lost."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from itertools import takewhile
from operator import or_
from typing import Any, NamedTuple

from pyspark.sql import Column, DataFrame, Row
from pyspark.sql import functions as F
from pyspark.sql.window import Window

from matchlake.errors import ReconciliationError
from matchlake.ingest.ledger import KEYS, count_reasons, count_rows, ledger_table
from matchlake.ingest.offsets import Offsets, missing_ranges, problems, without
from matchlake.ingest.params import StreamParams
from matchlake.io.delta import Lakehouse
from matchlake.io.gaps import Explain, all_adopted, no_reason
from matchlake.io.history import Commit, commits
from matchlake.schemas import quote_text

_BY = KEYS[1:]
_STATUSES = ("read", "good", "quarantined", "erased")
_PROVED = (*_STATUSES, "distinct", "lowest", "highest")
_FOUND = (*_PROVED, "bytes", "late", "first_event", "last_event")
_SHOWN = 10

Batch = tuple[int, int]
"""A checkpoint and the number of a batch in it."""
Key = tuple[Any, ...]
"""Checkpoint, batch and partition."""
Entry = dict[str, Any]
"""A row of the ledger with what was found in the table: `distinct`, `lowest` and `highest`.

`whole`, where it is there, tells whether all rows that the batch wrote are there.
"""


class Counts(NamedTuple):
    """What became of a stretch of a topic."""

    offsets: int = 0
    good: int = 0
    quarantined: int = 0
    erased: int = 0
    gaps: int = 0
    """Offsets without a row, for a reason that the ledger knows."""


def summed(counts: Iterable[Counts]) -> Counts:
    """All together."""
    return Counts(*(sum(each) for each in zip(Counts(), *counts, strict=True)))


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
                has no reason for it. The ledger holds what was found.
        """
        last, unsettled = self._entered()
        new = list(takewhile(lambda at: rebuild or _batch_of(at) != last, self._batches()))
        for commit in new:
            for checkpoint, batch in commit.undone.items():
                self.forget(checkpoint, batch)
        entries: dict[Key, Entry] = {}
        if unsettled:
            new += [commit for commit in self._batches() if _batch_of(commit) in unsettled]
            compared = self._compared(among(unsettled)).where(_is_unsettled())
            entries = {key: {**row, "whole": False} for key, row in self._entries(compared).items()}
        return self._write(list((entries | self._planned_in(new)).values()), explain)

    def renew(self, batches: set[Batch]) -> Counts:
        """Counts batches, by checkpoint and number, again: rows of theirs have changed."""
        return self._write(list(self._entries(self._compared(among(batches))).values()), no_reason)

    def accept_losses(self) -> Counts:
        """Enters everything that is missing now as a gap."""
        lost = self._entries(self._compared().where(_differs()))
        return self._write(list(lost.values()), all_adopted)

    def forget(self, checkpoint: int, batch: int) -> None:
        """Takes out the batches from `batch` on, because their rows are taken out of the table."""
        self.lakehouse.spark.sql(
            f"DELETE FROM {self.lakehouse.name(self.table)} WHERE stream = {quote_text(self.name)}"
            f" AND checkpoint_id = {checkpoint:d} AND batch_id >= {batch:d}"
        )

    def prove(self, explain: Explain, *, rebuild: bool = False) -> Counts:
        """Enters what is committed now, as `update`, and reconciles that; raises what these raise.

        What a stream that is under way commits meanwhile is not looked at.
        """
        version = self.lakehouse.version(self.stream.table)
        self.update(explain, rebuild=rebuild)
        return self.reconcile(version)

    def reconcile(self, version: int | None = None) -> Counts:
        """Proves from table and ledger alone that each offset is in exactly one place.

        From the first offset on that the ledger has, each is that of one row, good, quarantined
        or erased, or in a gap whose reason is known. One pass over the table, as it is or as it
        was at a `version`, for the batches that it had by then.

        Raises:
            ReconciliationError: it is not so; names the ranges.
        """
        by_then = F.lit(True)  # noqa: FBT003 - a condition, not a flag
        if version is not None:
            by_then = F.coalesce(F.col("table_version"), F.lit(0)) <= version
        rows = self.lakehouse.read(self.stream.table, version)
        compared = self._compared(rows=rows, found=_PROVED)
        different = compared.where(by_then & _differs()).orderBy(*_BY).limit(_SHOWN).collect()
        told = [problem for row in different for problem in self._differences(row)]
        told += [_unlinked(row) for row in self._unlinked()]
        if told:
            raise self._error(told)
        offsets = F.col("end_offset") - F.col("first_offset")
        sums = [F.sum(column) for column in (offsets, *_STATUSES[1:], _size_of_gaps())]
        found = self.rows().where(by_then).agg(*sums).collect()[0]
        return Counts(*(int(number or 0) for number in found))

    def checkpoints(self) -> list[int]:
        """The checkpoints of which the ledger has batches."""
        return [row[0] for row in self.rows().select("checkpoint_id").distinct().collect()]

    def gaps(self) -> dict[str, int]:
        """How many offsets are without a row, by reason."""
        each = self.rows().select(F.explode("gaps").alias("gap")).groupBy("gap.reason")
        size = F.sum(F.col("gap.end_offset") - F.col("gap.first_offset"))
        return {row[0]: int(row[1]) for row in each.agg(size).orderBy("reason").collect()}

    def _entered(self) -> tuple[Batch | None, set[Batch]]:
        """The newest batch, and those of which offsets have neither a row nor a gap."""
        batch = F.struct("checkpoint_id", "batch_id")
        newest = F.max_by(batch, F.struct("committed_at", "batch_id"))
        unsettled = F.collect_set(F.when(_is_unsettled(), batch))
        last, left = self.rows().agg(newest, unsettled).collect()[0]
        return last and (last[0], last[1]), {(each[0], each[1]) for each in left}

    def _batches(self) -> Iterator[Commit]:
        """The commits of batches, newest first, without those that a new beginning undid."""
        undone: dict[int, int] = {}
        for commit in commits(self.lakehouse.spark, self.lakehouse.name(self.stream.table)):
            if commit.told.get("stream") != self.name:
                continue
            for checkpoint, first in commit.undone.items():
                undone[checkpoint] = min(first, undone.get(checkpoint, first))
            checkpoint, batch = commit.told["checkpoint"], commit.told.get("batch")
            if batch is not None and not batch >= undone.get(checkpoint, batch + 1):
                yield commit

    def _planned_in(self, batches: list[Commit]) -> dict[Key, Entry]:
        """What commits say of their batches, with what is in the table."""
        if not batches:
            return {}
        where = among({_batch_of(commit) for commit in batches})
        found = {tuple(row[:3]): row.asDict() for row in self._counted(where).collect()}
        known = {
            tuple(row[:3]): row.gaps
            for row in self.rows().where(where).select(*_BY, "gaps").collect()
        }
        there = Counter[Key]()
        for key, row in found.items():
            there[key[:2]] += row["read"]
        entries = {}
        for commit in batches:
            whole = commit.rows in (None, there[_batch_of(commit)])
            for part, ends in commit.told["offsets"].items():
                key = (*_batch_of(commit), int(part))
                planned = self._planned(commit, key, ends)
                planned |= {"gaps": known.get(key) or [], "whole": whole}
                entries[key] = planned | _found(found.get(key))
        return entries

    def _planned(self, commit: Commit, key: Key, ends: list[int]) -> Entry:
        """What a commit says of one partition of its batch."""
        return {
            **dict(zip(_BY, key, strict=True)),
            "stream": self.name,
            "topic": commit.told["topic"],
            "topic_id": commit.told.get("topic_id"),
            "first_offset": ends[0],
            "end_offset": ends[1],
            "table_version": commit.version,
            "committed_at": commit.at,
            "seconds": max(0.0, commit.at.timestamp() - commit.told["began"]),
        }

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
            entry["reasons"] = reasons.get(tuple(entry[name] for name in _BY), [])
            entry["late"] = None if self.stream.late_after is None else entry["late"]
            told += self._settle(entry, explain)
        spec = ledger_table(self.table)
        values = [tuple(entry[name] for name in spec.column_names) for entry in entries]
        frame = self.lakehouse.spark.createDataFrame(values, spec.struct())
        self.lakehouse.merge(frame, spec, insist=True)
        if told:
            raise self._error(told)
        return summed(_counts(entry) for entry in entries)

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

    def _counted(self, where: Column | None = None, rows: DataFrame | None = None) -> DataFrame:
        rows = self.lakehouse.read(self.stream.table) if rows is None else rows
        counted = count_rows(rows if where is None else rows.where(where), self.stream)
        return counted.select(*_BY, *_FOUND)

    def _compared(
        self,
        where: Column | None = None,
        rows: DataFrame | None = None,
        found: Sequence[str] = _FOUND,
    ) -> DataFrame:
        """The ledger's rows, each with what is `found` in the table; each may be null.

        `rows` are the table's where it is not to be read as it is now.
        """
        entered = self.rows() if where is None else self.rows().where(where)
        counted = self._counted(where, rows).select(*_BY, F.struct(*found).alias("found"))
        return entered.join(counted, list(_BY), "full_outer")

    def _entries(self, compared: DataFrame) -> dict[Key, Entry]:
        """Of compared rows those that the ledger has, as they are found now."""
        rows = compared.where("stream IS NOT NULL").collect()
        return {tuple(row[name] for name in _BY): self._entry(row) for row in rows}

    def _entry(self, row: Row) -> Entry:
        return {**row.asDict(), "gaps": row.gaps or [], **_found(row.found)}

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
                ", ".join(f"{each[name]} {name}" for name in _STATUSES)
                for each in (row.asDict(), entry)
            )
            yield f"{where}: the ledger says {says}, but the table has {has}"

    def _offsets(self, entry: Mapping[str, Any]) -> Offsets:
        rows = self.lakehouse.read(self.stream.table)
        for name in _BY:
            rows = rows.where(F.col(name) == entry[name])
        found: Offsets = rows.select("offset").toArrow().column(0).to_numpy()
        return found

    def _unlinked(self) -> list[Row]:
        """Where a batch does not begin at the offset at which the one before it ended."""
        topic = F.coalesce("topic_id", F.col("checkpoint_id").cast("string"))
        order = Window.partitionBy(topic, "partition").orderBy("first_offset", "end_offset")
        linked = self.rows().withColumn("before", F.lag("end_offset").over(order))
        return linked.where("first_offset <> before").orderBy(*_BY).limit(_SHOWN).collect()

    def _error(self, told: list[str]) -> ReconciliationError:
        more = f"; and {len(told) - _SHOWN} more" if len(told) > _SHOWN else ""
        return ReconciliationError(
            f"{self.stream.table} does not hold every record of topic {self.stream.topic} exactly "
            f"once: {'; '.join(told[:_SHOWN])}{more}."
        )


def _batch_of(commit: Commit) -> Batch:
    return commit.told["checkpoint"], commit.told["batch"]


def among(batches: set[Batch]) -> Column:
    """Whether a row is of one of the batches; between the least and the greatest of each."""
    numbers: dict[int, list[int]] = {}
    for checkpoint, batch in batches:
        numbers.setdefault(checkpoint, []).append(batch)
    return reduce(
        or_,
        (
            (F.col("checkpoint_id") == checkpoint)
            & F.col("batch_id").between(min(of_it), max(of_it))
            for checkpoint, of_it in numbers.items()
        ),
        F.lit(False),  # noqa: FBT003 - a condition, not a flag
    )


def _found(row: Row | Mapping[str, Any] | None) -> Entry:
    """What was found of a batch; nothing, where there is no row of it."""
    values = {} if row is None else row.asDict() if isinstance(row, Row) else row
    none = dict.fromkeys(("lowest", "highest", "first_event", "last_event"))
    return {name: values.get(name) if name in none else values.get(name) or 0 for name in _FOUND}


def _counts(entry: Entry) -> Counts:
    return Counts(
        entry["end_offset"] - entry["first_offset"],
        entry["good"],
        entry["quarantined"],
        entry["erased"],
        sum(end - first for _, first, end in entry["gaps"]),
    )


def _size_of_gaps() -> Column:
    size = "aggregate(gaps, 0L, (sum, gap) -> sum + gap.end_offset - gap.first_offset)"
    return F.coalesce(F.expr(size), F.lit(0))


def _is_unsettled() -> Column:
    """Whether the ledger itself says that offsets of a batch have neither a row nor a gap."""
    return F.col("read") + _size_of_gaps() != F.col("end_offset") - F.col("first_offset")


def _differs() -> Column:
    """Whether what the ledger says of a batch, and what was found of it, do not agree."""
    found = {name: F.coalesce(F.col("found")[name], F.lit(0)) for name in (*_STATUSES, "distinct")}
    first, end = F.col("first_offset"), F.col("end_offset")
    inside = (F.col("found")["lowest"] >= first) & (F.col("found")["highest"] < end)
    agrees = [
        *(found[name] == F.col(name) for name in _STATUSES),
        found["read"] == found["distinct"],
        found["read"] + _size_of_gaps() == end - first,
        F.coalesce(inside, found["read"] == 0),
    ]
    all_agree = reduce(lambda one, other: one & other, agrees)
    return ~F.coalesce(all_agree, F.lit(False))  # noqa: FBT003 - a condition, not a flag


def _unlinked(row: Row) -> str:
    return (
        f"partition {row.partition}: batch {row.batch_id} of checkpoint {row.checkpoint_id} begins "
        f"at offset {row.first_offset}, but the one before it ended at {row.before}"
    )
