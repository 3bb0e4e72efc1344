"""Keeps a silver table in step with its bronze table: by what that gained, or made anew."""

import json
import logging
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from py4j.protocol import Py4JError
from pyspark.errors import PySparkException
from pyspark.sql import Column, DataFrame, Row
from pyspark.sql import functions as F

from matchlake.ingest.schema import GOOD, STATUS
from matchlake.ingest.silver import LATE, ORDER, Cleaning
from matchlake.ingest.streams.commits import table_id
from matchlake.io.delta import Lakehouse
from matchlake.io.delta_properties import drop_constraints, read_properties, set_properties
from matchlake.schemas import quote_identifier

_log = logging.getLogger(__name__)

_MADE_FROM = "matchlake.made_from"
"""The property that says of which bronze table, version and declaration a silver table is made."""

State = dict[str, Any]


class CleanCounts(NamedTuple):
    """What became of good records of a bronze table."""

    good: int
    """How many were read."""
    late: int
    """How many of them came late."""
    new: int
    """How many events they are that the silver table had not; of one made anew, all it has."""
    anew: bool = False
    """Whether the table, or a range of it, was made anew."""

    @property
    def repeated(self) -> int:
        """Records of an event that the table had already, or that others are of too."""
        return self.good - self.new


@dataclass(frozen=True)
class Clean:
    """One silver table, and the bronze table it is made from.

    After each call its rows are those that all good records of bronze give, whatever was there
    before and in whatever steps they came.
    """

    cleaning: Cleaning
    lakehouse: Lakehouse = field(repr=False)

    def catch_up(self) -> CleanCounts | None:
        """Merges what bronze gained since the last time; None where nothing changed there.

        One commit, and then a note in the table of how far it is: after a crash between them the
        same records are merged again, which changes nothing. Where records are gone from bronze,
        its changes are no longer kept, or the declaration is another, the table is made anew.

        Raises:
            TableError: the table is there in another shape than declared.
        """
        bronze, spec = self.cleaning.stream.table, self.cleaning.spec()
        self.lakehouse.require(bronze)
        add = self.cleaning.stream.new_columns == "add"
        self.lakehouse.create(spec, add_columns=add)
        drop_constraints(self.lakehouse, spec.name, dict(spec.checks))
        before, now = self._noted(), self._state()
        if before == now:
            return None
        counts = self._merged(before, now) or self._made_anew(now)
        set_properties(self.lakehouse, spec.name, {_MADE_FROM: json.dumps(now)})
        return counts

    def rebuild(self, start: datetime, end: datetime) -> CleanCounts:
        """Makes the events from `start` on and before `end` anew from bronze, in one commit."""
        spec, inside = self.cleaning.spec(), self.cleaning.happened(start, end)
        self.catch_up()
        rows = self.lakehouse.read(self.cleaning.stream.table, self._noted()["version"])
        kept = self.cleaning.kept_between(rows, start, end)
        self.lakehouse.replace_where(kept, spec, inside)
        found = self._counted(rows, _good() & inside)
        there = self.lakehouse.read(spec.name).where(inside).count()
        return CleanCounts(found["good"], found["late"], there, anew=True)

    def _noted(self) -> State:
        """Of what the table was made last; nothing where it never was."""
        properties = read_properties(self.lakehouse, self.cleaning.silver.table)
        noted: State = json.loads(properties.get(_MADE_FROM, "{}"))
        return noted

    def _state(self) -> State:
        """Of what the table would be made now."""
        bronze = self.cleaning.stream.table
        return {
            "table": table_id(self.lakehouse.spark, self.lakehouse.name(bronze)),
            "version": self.lakehouse.version(bronze),
            "keys": list(self.cleaning.silver.keys),
            "late_after": self.cleaning.stream.late_after,
        }

    def _merged(self, before: State, now: State) -> CleanCounts | None:
        """Merges what bronze gained since; None where that is not known, or not all there is."""
        if before | {"version": None} != now | {"version": None}:
            return None
        bronze = self.cleaning.stream.table
        try:
            changes = self.lakehouse.changes(bronze, before["version"] + 1, now["version"])
            found = self._counted(changes, _good() & _added(), gone=_good() & ~_added())
        except (PySparkException, Py4JError) as error:
            told = str(error).splitlines()[0]
            _log.warning("%s: what changed is no longer known there: %s", bronze, told)
            return None
        if found["gone"]:
            _log.info("%s: %d good record(s) are there no more", bronze, found["gone"])
            return None
        rows = changes.where(_added())
        new = self.lakehouse.merge(self.cleaning.kept(rows), self.cleaning.spec(), self._matched())
        return CleanCounts(found["good"], found["late"], new)

    def _made_anew(self, now: State) -> CleanCounts:
        spec = self.cleaning.spec()
        rows = self.lakehouse.read(self.cleaning.stream.table, now["version"])
        found = self._counted(rows, _good())
        self.lakehouse.replace(self.cleaning.kept(rows), spec)
        there = self.lakehouse.read(spec.name).count()
        return CleanCounts(found["good"], found["late"], there, anew=True)

    def _counted(self, rows: DataFrame, chosen: Column, gone: Column | None = None) -> Row:
        lost = F.lit(0) if gone is None else F.count_if(gone)
        late = F.count_if(chosen & self.cleaning.is_late())
        counts = (F.count_if(chosen).alias("good"), late.alias("late"), lost.alias("gone"))
        return rows.agg(*counts).collect()[0]

    def _matched(self) -> str:
        """A later record takes the place of an earlier one; an event in time stays in time."""
        newer = " > ".join(f"struct({', '.join(f'{t}.{c}' for c in ORDER)})" for t in "st")
        names = map(quote_identifier, self.cleaning.spec().column_names[:-1])
        columns = ", ".join(f"{name} = s.{name}" for name in names)
        late = LATE.name
        return (
            f"WHEN MATCHED AND {newer} THEN UPDATE SET {columns}, {late} = s.{late} AND t.{late}"
            f" WHEN MATCHED AND t.{late} AND NOT s.{late} THEN UPDATE SET {late} = false"
        )


def _good() -> Column:
    return F.col(STATUS.name) == GOOD


def _added() -> Column:
    return F.col("_change_type").isin("insert", "update_postimage")
