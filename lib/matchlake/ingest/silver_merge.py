"""Brings silver tables up to date with bronze: merges what bronze gained, or rebuilds."""

import json
import logging
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from py4j.protocol import Py4JError
from pyspark.errors import PySparkException
from pyspark.sql import Column, DataFrame, Row
from pyspark.sql import functions as F

from matchlake.ingest.schema import STATUS, VALID
from matchlake.ingest.silver import LATE, ORDER, InteractionsSpec, SilverSpec
from matchlake.ingest.streams.commits import table_id
from matchlake.io.delta import Lakehouse
from matchlake.io.delta_properties import drop_constraints, read_properties, set_properties
from matchlake.schemas import INTERACTIONS, quote_identifier

_log = logging.getLogger(__name__)

_BUILT_FROM = "matchlake.built_from"
"""The table property with the source table, its version and the declaration of the last build."""

State = dict[str, Any]


class SilverCounts(NamedTuple):
    """Counts of the valid records that one merge or rebuild read."""

    valid: int
    """Valid records that were read."""
    late: int
    """Late ones among them."""
    new: int
    """Events that the silver table did not have; after a rebuild, all events in it."""
    rebuilt: bool = False
    """Whether the table, or a range of it, was rebuilt."""

    @property
    def repeated(self) -> int:
        """Records of an event that has another record, here or in the table."""
        return self.valid - self.new


@dataclass(frozen=True)
class SilverMerge:
    """One silver table, and the bronze table it is built from.

    After each call the table holds what all valid records of bronze give. Neither its earlier rows
    nor the number of runs change that.
    """

    silver: SilverSpec
    lakehouse: Lakehouse = field(repr=False)

    def catch_up(self) -> SilverCounts | None:
        """Merges what bronze gained since the last run; None where nothing changed there.

        The merge is one commit. A table property then records the version of bronze. After a crash
        between the two, the next run merges the same records again, which changes nothing. The
        table is rebuilt where records are gone from bronze, where bronze no longer keeps its
        changes, and where the declaration has changed.

        Raises:
            TableError: the table exists with other columns than declared.
        """
        bronze, spec = self.silver.stream.table, self.silver.spec()
        self.lakehouse.require(bronze)
        add = self.silver.stream.schema_evolution == "add_columns"
        self.lakehouse.create(spec, add_columns=add)
        drop_constraints(self.lakehouse, spec.name, dict(spec.checks))
        before, now = _read_state(self.lakehouse, spec.name), self._state()
        if before == now:
            return None
        counts = self._merge(before, now) or self._rebuild_all(now)
        _write_state(self.lakehouse, spec.name, now)
        return counts

    def rebuild(self, start: datetime, end: datetime) -> SilverCounts:
        """Rebuilds the events from `start` on and before `end` from bronze, in one commit."""
        spec, inside = self.silver.spec(), self.silver.happened(start, end)
        self.catch_up()
        version = _read_state(self.lakehouse, spec.name)["version"]
        bronze = self.lakehouse.read(self.silver.stream.table, version)
        rows = self.silver.rows_between(bronze, start, end)
        self.lakehouse.replace_where(rows, spec, inside)
        counts = self._count(bronze, _is_valid() & inside)
        events = self.lakehouse.read(spec.name).where(inside).count()
        return SilverCounts(counts["valid"], counts["late"], events, rebuilt=True)

    def _state(self) -> State:
        """The source and the declaration of a build now."""
        declared = {
            "keys": list(self.silver.silver.keys),
            "lateness_threshold_seconds": self.silver.stream.lateness_threshold_seconds,
        }
        return _source_state(self.lakehouse, self.silver.stream.table) | declared

    def _merge(self, before: State, now: State) -> SilverCounts | None:
        """Merges what bronze gained; None where that is unknown, or where bronze lost records."""
        if before | {"version": None} != now | {"version": None}:
            return None
        bronze = self.silver.stream.table
        try:
            changes = self.lakehouse.changes(bronze, before["version"] + 1, now["version"])
            counts = self._count(changes, _is_valid() & _added(), gone=_is_valid() & ~_added())
        except (PySparkException, Py4JError) as error:
            message = str(error).splitlines()[0]
            _log.warning("%s: its changes are no longer kept: %s", bronze, message)
            return None
        if counts["gone"]:
            _log.info("%s: %d valid record(s) are gone", bronze, counts["gone"])
            return None
        rows = self.silver.rows(changes.where(_added()))
        new = self.lakehouse.merge(rows, self.silver.spec(), self._matched())
        return SilverCounts(counts["valid"], counts["late"], new)

    def _rebuild_all(self, now: State) -> SilverCounts:
        spec = self.silver.spec()
        bronze = self.lakehouse.read(self.silver.stream.table, now["version"])
        counts = self._count(bronze, _is_valid())
        self.lakehouse.replace(self.silver.rows(bronze), spec)
        events = self.lakehouse.read(spec.name).count()
        return SilverCounts(counts["valid"], counts["late"], events, rebuilt=True)

    def _count(self, rows: DataFrame, chosen: Column, gone: Column | None = None) -> Row:
        lost = F.lit(0) if gone is None else F.count_if(gone)
        late = F.count_if(chosen & self.silver.is_late())
        counts = (F.count_if(chosen).alias("valid"), late.alias("late"), lost.alias("gone"))
        return rows.agg(*counts).collect()[0]

    def _matched(self) -> str:
        """A later record replaces an earlier one; an event in time stays in time."""
        newer = " > ".join(f"struct({', '.join(f'{t}.{c}' for c in ORDER)})" for t in "st")
        names = map(quote_identifier, self.silver.spec().column_names[:-1])
        columns = ", ".join(f"{name} = s.{name}" for name in names)
        late = LATE.name
        return (
            f"WHEN MATCHED AND {newer} THEN UPDATE SET {columns}, {late} = s.{late} AND t.{late}"
            f" WHEN MATCHED AND t.{late} AND NOT s.{late} THEN UPDATE SET {late} = false"
        )


def build_interactions(spec: InteractionsSpec, lakehouse: Lakehouse) -> int | None:
    """Replaces `silver.interactions` from its silver table; None where nothing changed there.

    The table is replaced as a whole, in one commit: a rebuilt range or an erased user can take
    away the last event of a pair, which a merge by key would keep. Returns its number of rows.
    """
    source = spec.source.silver.table
    now = _source_state(lakehouse, source) | {"columns": spec.params.model_dump()}
    if lakehouse.exists(INTERACTIONS.name) and now == _read_state(lakehouse, INTERACTIONS.name):
        return None
    lakehouse.replace(spec.rows(lakehouse.read(source, now["version"])), INTERACTIONS)
    _write_state(lakehouse, INTERACTIONS.name, now)
    return lakehouse.read(INTERACTIONS.name).count()


def _source_state(lakehouse: Lakehouse, table: str) -> State:
    return {
        "table": table_id(lakehouse.spark, lakehouse.name(table)),
        "version": lakehouse.version(table),
    }


def _read_state(lakehouse: Lakehouse, table: str) -> State:
    """The source and the declaration of the last build; empty where there was none."""
    state: State = json.loads(read_properties(lakehouse, table).get(_BUILT_FROM, "{}"))
    return state


def _write_state(lakehouse: Lakehouse, table: str, state: State) -> None:
    set_properties(lakehouse, table, {_BUILT_FROM: json.dumps(state)})


def _is_valid() -> Column:
    return F.col(STATUS.name) == VALID


def _added() -> Column:
    return F.col("_change_type").isin("insert", "update_postimage")
