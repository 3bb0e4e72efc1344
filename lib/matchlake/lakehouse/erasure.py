"""Erases one user from the lakehouse: from tables, from quarantine, and from the old files."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pyspark.sql import DataFrame

from matchlake.ingest.schema import BATCH, ERASED, GOOD, POSITION, QUARANTINED, STATUS
from matchlake.ingest.streams.audit import Ledger
from matchlake.ingest.user_match import mentions_user, names_user
from matchlake.io.delta import Lakehouse
from matchlake.io.delta_properties import read_properties, set_properties
from matchlake.schemas import USER_ID, quote_identifier, quote_text

COLUMNS = (USER_ID, "related_user_id")
"""Columns in which a table names users."""

_KEPT = "delta.deletedFileRetentionDuration"
_KEPT_BEFORE = "matchlake.kept_before_erasure"
"""The property with what `_KEPT` was, empty where it was not set, until it is so again."""
_STAYS = {column.name for column in (STATUS, *POSITION, *BATCH)}
"""The columns of a stream's table that tell nothing of what a record said."""


@dataclass(frozen=True)
class Erased:
    """What was found of the user in one table."""

    table: str
    rows: int
    """Rows that were deleted; of a stream's table good records, emptied."""
    quarantined: int = 0
    """Quarantined records that are the user's, emptied."""
    mentions: int = 0
    """Other quarantined records that hold the user's id; they stay unless asked for."""
    left: int = 0
    """Rows that still are the user's: 0, or a job has written meanwhile."""


@dataclass(frozen=True)
class Erasure:
    """One user, to be erased from tables of the lakehouse."""

    user: str
    ledgers: Sequence[Ledger]
    """Those of the streams: their tables keep the position of what is erased."""
    conditions: Mapping[str, str]
    """SQL of a table's rows that are the user's, where no column of COLUMNS says so."""
    lakehouse: Lakehouse = field(repr=False)
    mentions: bool = False
    """Whether quarantined records that hold the user's id anywhere are erased too."""

    def run(self, tables: Sequence[str]) -> list[Erased]:
        """Erases the user from each of the tables, and then the files of all older versions.

        A table that knows no users is left alone. Run again it changes nothing, and after a crash
        it goes on. Who reads an older version of a table meanwhile fails.
        """
        return [done for table in tables if (done := self._erase(table))]

    def _erase(self, table: str) -> Erased | None:
        ledgers = [each for each in self.ledgers if each.stream.table == table]
        condition = self._condition(table)
        if ledgers:
            done = self._empty(ledgers, condition or "false")
        elif condition:
            (row,) = self._sql(f"DELETE FROM {self._name(table)} WHERE {condition}").collect()
            done = Erased(table, int(row["num_affected_rows"]), left=self._count(table, condition))
        else:
            return None
        self._purge(table)
        return done

    def _condition(self, table: str) -> str | None:
        """SQL of the table's rows that are the user's; None where it knows no users."""
        there = set(COLUMNS).intersection(self.lakehouse.read(table).columns)
        given = [self.conditions[table]] if table in self.conditions else []
        is_user = [f"{name} <=> {quote_text(self.user)}" for name in sorted(there)]
        return " OR ".join([*given, *is_user]) or None

    def _empty(self, ledgers: Sequence[Ledger], condition: str) -> Erased:
        """Empties the user's records, so that each position is still accounted for."""
        stream = ledgers[0].stream
        table, bad = stream.table, f"{STATUS.name} = '{QUARANTINED}'"
        good = f"({STATUS.name} = '{GOOD}' AND ({condition}))"
        named = f"({bad} AND ({names_user(stream, USER_ID, self.user)}))"
        more = f"({bad} AND ({mentions_user(self.user)}) AND NOT {named})"
        (found,) = self._sql(
            f"SELECT count_if({good}), count_if({named}), count_if({more}) FROM {self._name(table)}"
        ).collect()
        chosen = " OR ".join([good, named, more] if self.mentions else [good, named])
        # What the table has, not what is declared now: a column may be declared no longer.
        names = [name for name in self.lakehouse.read(table).columns if name not in _STAYS]
        nothing = ", ".join(f"{quote_identifier(name)} = NULL" for name in names)
        self._sql(
            f"UPDATE {self._name(table)} SET {STATUS.name} = '{ERASED}', {nothing} WHERE {chosen}"
        )
        for ledger in ledgers:
            self._renew(ledger)
        also, stay = (found[2], 0) if self.mentions else (0, found[2])
        return Erased(table, found[0], found[1] + also, stay, self._count(table, chosen))

    def _renew(self, ledger: Ledger) -> None:
        """Counts every batch with an erased record again, those of earlier erasures too."""
        ledger.prepare()
        rows = self.lakehouse.read(ledger.stream.table).where(f"{STATUS.name} = '{ERASED}'")
        found = rows.select("checkpoint_id", "batch_id").distinct().collect()
        if found:
            ledger.renew({(row.checkpoint_id, row.batch_id) for row in found})

    def _purge(self, table: str) -> None:
        """Removes every file that is no part of the current version, deletion vectors applied.

        For that the table keeps none for a while; what it kept before outlives a crash.
        """
        properties = read_properties(self.lakehouse, table)
        kept = properties.get(_KEPT_BEFORE, properties.get(_KEPT, ""))
        self._sql(f"REORG TABLE {self._name(table)} APPLY (PURGE)")
        nothing = {_KEPT: "interval 0 hours", _KEPT_BEFORE: kept}
        set_properties(self.lakehouse, table, nothing)
        try:
            self._sql(f"VACUUM {self._name(table)} RETAIN 0 HOURS")
        finally:
            if kept:
                set_properties(self.lakehouse, table, {_KEPT: kept})
            gone = quote_text(_KEPT_BEFORE) if kept else ", ".join(map(quote_text, nothing))
            self._sql(f"ALTER TABLE {self._name(table)} UNSET TBLPROPERTIES ({gone})")

    def _count(self, table: str, condition: str) -> int:
        return self.lakehouse.read(table).where(condition).count()

    def _name(self, table: str) -> str:
        return self.lakehouse.name(table)

    def _sql(self, query: str) -> DataFrame:
        return self.lakehouse.spark.sql(query)
