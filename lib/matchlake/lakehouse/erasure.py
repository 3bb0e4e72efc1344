"""Erases one user from the lakehouse: from tables, from quarantine, and from the old files."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from pyspark.sql import DataFrame

from matchlake.ingest.schema import BATCH, ERASED, GOOD, POSITION, QUARANTINED, STATUS
from matchlake.ingest.streams.audit import Ledger
from matchlake.ingest.user_match import mentions_user, names_user
from matchlake.io.delta import Lakehouse
from matchlake.io.erasure_marks import clear_erasure, mark_erasure
from matchlake.io.old_files import remove_old_files
from matchlake.schemas import USER_ID, quote_identifier, quote_text

COLUMNS = (USER_ID, "related_user_id")
"""Columns in which a table names users."""

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
    hours: float = 0
    """Age at which `maintain_tables` removes the old files; 0: they are removed already."""


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

        A table that knows no users is left alone. All others are marked before the first is
        touched; a table loses its mark when it is done. A run after a crash completes the erasure.
        Readers of older versions fail; an append that was under way at a mark fails, and loses
        no committed row.
        """
        steps = {table: step for table in tables if (step := self._step(table))}
        for table in steps:
            mark_erasure(self.lakehouse, table, self.user)
        return [self._erase(table, step) for table, step in steps.items()]

    def _step(self, table: str) -> Callable[[], Erased] | None:
        """What erases the user's rows; None where the table knows no users."""
        ledgers = [each for each in self.ledgers if each.stream.table == table]
        condition = self._condition(table)
        if ledgers:
            return partial(self._empty, ledgers, condition or "false")
        return partial(self._delete, table, condition) if condition else None

    def _erase(self, table: str, step: Callable[[], Erased]) -> Erased:
        done = step()
        self._sql(f"REORG TABLE {self._name(table)} APPLY (PURGE)")
        hours = remove_old_files(self.lakehouse, table)
        clear_erasure(self.lakehouse, table, self.user)
        return replace(done, hours=hours)

    def _delete(self, table: str, condition: str) -> Erased:
        (row,) = self._sql(f"DELETE FROM {self._name(table)} WHERE {condition}").collect()
        return Erased(table, int(row["num_affected_rows"]), left=self._count(table, condition))

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

    def _count(self, table: str, condition: str) -> int:
        return self.lakehouse.read(table).where(condition).count()

    def _name(self, table: str) -> str:
        return self.lakehouse.name(table)

    def _sql(self, query: str) -> DataFrame:
        return self.lakehouse.spark.sql(query)
