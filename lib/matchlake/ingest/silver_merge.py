"""Brings silver tables up to date with bronze: merges the new records, or rebuilds."""

import logging
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property, partial
from typing import NamedTuple

from py4j.protocol import Py4JError
from pyspark.errors import PySparkException
from pyspark.sql import Column, DataFrame, Row
from pyspark.sql import functions as F

from matchlake.ingest.last_records import Topics, read_topics
from matchlake.ingest.schema import STATUS, VALID
from matchlake.ingest.silver import DELETED, LATE, SilverSpec, is_delete
from matchlake.ingest.silver_builds import Build, Builds, State, source_state
from matchlake.ingest.silver_rules import BrokenRules
from matchlake.ingest.silver_source import RECOMPUTED, merge_source
from matchlake.io.delta import Lakehouse
from matchlake.io.delta_properties import drop_constraints
from matchlake.schemas import quote_identifier

_log = logging.getLogger(__name__)


class SilverCounts(NamedTuple):
    """Counts of the valid records that one merge or rebuild read."""

    valid: int
    """Valid records that were read."""
    late: int
    """The number of late records among them."""
    new: int
    """New events of the silver table; after a rebuild, all its events."""
    deletes: int = 0
    """Records that delete a row, among the valid ones."""
    rebuilt: bool = False
    """Whether the table, or a range of it, was rebuilt."""
    broken: BrokenRules = ()
    """The broken rules. Records that a rule with `quarantine` leaves out do not count as valid."""

    @property
    def repeated(self) -> int:
        """Records of an event that already has a record, in this merge or in the table."""
        return self.valid - self.deletes - self.new


@dataclass(frozen=True)
class SilverMerge:
    """One silver table, and the bronze table it is built from.

    After each call the table is the result of all valid records of bronze. Neither its earlier rows
    nor the number of runs matter.
    """

    silver: SilverSpec
    lakehouse: Lakehouse = field(repr=False)
    batch_log: str | None = None
    """The batch log, which shows whether the topic was created more than once."""

    def catch_up(self) -> SilverCounts | None:
        """Merges the records that bronze gained since the last run; None if bronze has not changed.

        The merge and the version of bronze that it is made from are one commit. If another run
        builds the table at the same time, this one starts again from that build. The table is
        rebuilt where records are gone from bronze, where bronze no longer keeps its changes, and
        where the declaration has changed.

        Raises:
            TableError: the table exists with other columns than declared, or other runs build it
                all the time.
            InputError: a record breaks a rule with the action `fail`; nothing was written.
        """
        self._prepare()
        return self._builds.until_taken(self._catch_up)

    def rebuild(self, start: datetime, end: datetime) -> SilverCounts:
        """Rebuilds the events from `start` on and before `end` from bronze, in one commit."""
        self._prepare()

        def build(rebuild: bool) -> SilverCounts:  # noqa: FBT001 - the argument of `until_taken`
            self._catch_up(rebuild)
            return self._rebuild_range(start, end)

        return self._builds.until_taken(build)

    def _prepare(self) -> None:
        spec = self.silver.spec()
        self.lakehouse.require(self.silver.stream.table)
        add = self.silver.stream.schema_evolution == "add_columns"
        self.lakehouse.create(spec, add_columns=add)
        drop_constraints(self.lakehouse, spec.name, dict(spec.checks))

    def _catch_up(self, rebuild: bool) -> SilverCounts | None:  # noqa: FBT001 - passed on
        before = self._builds.last()
        now = self._state()
        if before.state == now and not rebuild:
            return None
        merged = None if rebuild else self._merge(before, now)
        return merged or self._rebuild_all(before, now)

    def _rebuild_range(self, start: datetime, end: datetime) -> SilverCounts:
        spec, inside = self.silver.spec(), self.silver.happened(start, end)
        before = self._builds.last()
        bronze = self._bronze(before.state["version"])
        rows = self.silver.rows_between(bronze, start, end)
        counts = self._count(bronze, _is_valid() & inside)
        broken = self._require_unbroken(counts)
        write = partial(self.lakehouse.replace_where, rows, spec, inside)
        self._builds.commit(before, before.state, write)
        events = self.lakehouse.read(spec.name).where(inside).count()
        return _counts(counts, events, broken, rebuilt=True)

    @property
    def _builds(self) -> Builds:
        return Builds(self.silver.spec().name, self.lakehouse)

    def _state(self) -> State:
        """The current state of the source and of the declaration."""
        declared = {
            "keys": list(self.silver.silver.keys),
            "lateness_threshold_seconds": self.silver.stream.lateness_threshold_seconds,
            "change_data": self.silver.stream.change_data,
            "topics": list(self._topics.ids),
            **self.silver.rules.declared,
        }
        return source_state(self.lakehouse, self.silver.stream.table) | declared

    def _merge(self, before: Build, now: State) -> SilverCounts | None:
        """Merges the new records of bronze; None if they are unknown, or if bronze lost records."""
        if before.state | {"version": None} != now | {"version": None}:
            return None
        bronze = self.silver.stream.table
        try:
            changes = self.lakehouse.changes(bronze, before.state["version"] + 1, now["version"])
            counts = self._count(changes, _is_valid() & _added(), gone=_is_valid() & ~_added())
        except (PySparkException, Py4JError) as error:
            message = str(error).splitlines()[0]
            _log.warning("%s: its changes are no longer kept: %s", bronze, message)
            return None
        if counts["gone"]:
            _log.info("%s: %d valid record(s) are gone", bronze, counts["gone"])
            return None
        broken = self._require_unbroken(counts)
        rows = merge_source(
            self.silver,
            self._topics.marked(changes.where(_added())),
            self.lakehouse.read(self.silver.silver.table),
            self._bronze(now["version"]),
        )
        write = partial(
            self.lakehouse.merge,
            rows,
            self.silver.spec(),
            self._matched(),
            flags=[RECOMPUTED, DELETED],
            insert_if=f"NOT s.{DELETED}",
        )
        new = self._builds.commit(before, now, write)
        return _counts(counts, new, broken)

    def _rebuild_all(self, before: Build, now: State) -> SilverCounts:
        spec = self.silver.spec()
        bronze = self._bronze(now["version"])
        counts = self._count(bronze, _is_valid())
        broken = self._require_unbroken(counts)
        write = partial(self.lakehouse.replace, self.silver.rows(bronze), spec)
        self._builds.commit(before, now, write)
        events = self.lakehouse.read(spec.name).count()
        return _counts(counts, events, broken, rebuilt=True)

    def _count(self, rows: DataFrame, chosen: Column, gone: Column | None = None) -> Row:
        lost = F.lit(0) if gone is None else F.count_if(gone)
        rules = [self.silver.rules.counted(chosen).alias("rules")] if self._has_rules else []
        chosen = chosen & self.silver.rules.is_obeyed() if self._has_rules else chosen
        late = F.count_if(chosen & self.silver.is_late())
        deletes = F.count_if(chosen & is_delete(self.silver.stream))
        counts = {"valid": F.count_if(chosen), "late": late, "gone": lost, "deletes": deletes}
        named = (count.alias(name) for name, count in counts.items())
        return rows.agg(*named, *rules).collect()[0]

    @cached_property
    def _topics(self) -> Topics:
        return read_topics(self.lakehouse, self.batch_log, self.silver.silver.stream)

    def _bronze(self, version: int) -> DataFrame:
        return self._topics.marked(self.lakehouse.read(self.silver.stream.table, version))

    @property
    def _has_rules(self) -> bool:
        return bool(self.silver.silver.rules)

    def _require_unbroken(self, counts: Row) -> BrokenRules:
        """The broken rules. Raises InputError if one of them has the action `fail`."""
        return self.silver.rules.found(counts["rules"]) if self._has_rules else ()

    def _matched(self) -> str:
        """A later record replaces an earlier one; an event in time stays in time.

        Both rows are of one partition, except where the new row is recomputed from all records.
        """
        names = map(quote_identifier, self.silver.spec().column_names)
        values = {name: f"s.{name}" for name in names}
        recomputed = ", ".join(f"{name} = {value}" for name, value in values.items())
        late = quote_identifier(LATE.name)
        values[late] = f"s.{late} AND t.{late}"
        later = ", ".join(f"{name} = {value}" for name, value in values.items())
        return (
            f"WHEN MATCHED AND s.{DELETED} AND (s.{RECOMPUTED} OR s.offset > t.offset) THEN DELETE"
            f" WHEN MATCHED AND s.{RECOMPUTED} THEN UPDATE SET {recomputed}"
            f" WHEN MATCHED AND s.offset > t.offset THEN UPDATE SET {later}"
            f" WHEN MATCHED AND t.{late} AND NOT s.{late} THEN UPDATE SET {late} = false"
        )


def _counts(counted: Row, new: int, broken: BrokenRules, *, rebuilt: bool = False) -> SilverCounts:
    deletes = counted["deletes"]
    return SilverCounts(counted["valid"], counted["late"], new, deletes, rebuilt, broken)


def _is_valid() -> Column:
    return F.col(STATUS.name) == VALID


def _added() -> Column:
    return F.col("_change_type").isin("insert", "update_postimage")
