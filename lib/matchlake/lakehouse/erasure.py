"""Erases one user from the lakehouse: from tables, quarantine and old files."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from pyspark.sql import DataFrame

from matchlake.ingest.schema import BATCH, ERASED, POSITION, QUARANTINED, STATUS, VALID
from matchlake.ingest.streams.audit import BatchLog
from matchlake.ingest.user_match import matches_anywhere, matches_exactly
from matchlake.io.delta import Lakehouse
from matchlake.io.erasure_marks import clear_erasure, mark_erasure
from matchlake.io.old_files import remove_old_files
from matchlake.schemas import USER_ID, quote_identifier, quote_text

COLUMNS = (USER_ID, "related_user_id")
"""The columns with ids of users."""

_KEPT_COLUMNS = {column.name for column in (STATUS, *POSITION, *BATCH)}
"""The columns of a stream table without content of the record."""


@dataclass(frozen=True)
class Erased:
    """The rows of the user in one table."""

    table: str
    rows: int
    """Deleted rows; in a stream table, emptied valid records."""
    quarantined: int = 0
    """Emptied quarantined records of the user."""
    unparsed_matches: int = 0
    """Other quarantined records that hold the id; they stay, unless erased by request."""
    left: int = 0
    """Remaining rows of the user: 0, unless a job has written meanwhile."""
    hours: float = 0
    """The age at which `maintain_tables` removes the old files; 0: they are removed."""


@dataclass(frozen=True)
class Erasure:
    """The erasure of one user from tables of the lakehouse."""

    user: str
    batch_logs: Sequence[BatchLog]
    """The batch logs of the streams: their tables keep the positions of erased records."""
    conditions: Mapping[str, str]
    """Per table the SQL condition of the user's rows, besides the columns of COLUMNS."""
    lakehouse: Lakehouse = field(repr=False)
    include_unparsed_matches: bool = False
    """Whether to erase also quarantined records that hold the id anywhere."""

    def run(self, tables: Sequence[str]) -> list[Erased]:
        """Erases the user from each of the tables, and then the files of all older versions.

        Tables without users are skipped. All others are marked before the first is changed, and
        each loses its mark when it is done. A run after a crash completes the erasure. Readers of
        older versions fail. An append that runs during the mark fails; no committed row is lost.
        """
        steps = {table: step for table in tables if (step := self._step(table))}
        for table in steps:
            mark_erasure(self.lakehouse, table, self.user)
        return [self._erase(table, step) for table, step in steps.items()]

    def _step(self, table: str) -> Callable[[], Erased] | None:
        """The function that erases the user's rows; None for a table without users."""
        batch_logs = [each for each in self.batch_logs if each.stream.table == table]
        condition = self._condition(table)
        if batch_logs:
            return partial(self._empty, batch_logs, condition or "false")
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
        """SQL condition of the user's rows; None for a table without users."""
        columns = set(COLUMNS).intersection(self.lakehouse.read(table).columns)
        declared = [self.conditions[table]] if table in self.conditions else []
        is_user = [f"{name} <=> {quote_text(self.user)}" for name in sorted(columns)]
        return " OR ".join([*declared, *is_user]) or None

    def _empty(self, batch_logs: Sequence[BatchLog], condition: str) -> Erased:
        """Empties the user's records; each position stays accounted for."""
        stream = batch_logs[0].stream
        table, quarantined = stream.table, f"{STATUS.name} = '{QUARANTINED}'"
        valid = f"({STATUS.name} = '{VALID}' AND ({condition}))"
        exact = f"({quarantined} AND ({matches_exactly(stream, USER_ID, self.user)}))"
        anywhere = f"({quarantined} AND ({matches_anywhere(self.user)}) AND NOT {exact})"
        (counts,) = self._sql(
            f"SELECT count_if({valid}), count_if({exact}), count_if({anywhere})"
            f" FROM {self._name(table)}"
        ).collect()
        chosen = " OR ".join(
            [valid, exact, anywhere] if self.include_unparsed_matches else [valid, exact]
        )
        # Uses the columns of the table, because conf may no longer declare a column.
        names = [name for name in self.lakehouse.read(table).columns if name not in _KEPT_COLUMNS]
        nulls = ", ".join(f"{quote_identifier(name)} = NULL" for name in names)
        self._sql(
            f"UPDATE {self._name(table)} SET {STATUS.name} = '{ERASED}', {nulls} WHERE {chosen}"
        )
        for batch_log in batch_logs:
            self._recount(batch_log)
        also, stay = (counts[2], 0) if self.include_unparsed_matches else (0, counts[2])
        return Erased(table, counts[0], counts[1] + also, stay, self._count(table, chosen))

    def _recount(self, batch_log: BatchLog) -> None:
        """Counts all batches with erased records again, also those of earlier erasures."""
        batch_log.prepare()
        rows = self.lakehouse.read(batch_log.stream.table).where(f"{STATUS.name} = '{ERASED}'")
        batches = rows.select("checkpoint_id", "batch_id").distinct().collect()
        if batches:
            batch_log.recount({(row.checkpoint_id, row.batch_id) for row in batches})

    def _count(self, table: str, condition: str) -> int:
        return self.lakehouse.read(table).where(condition).count()

    def _name(self, table: str) -> str:
        return self.lakehouse.name(table)

    def _sql(self, query: str) -> DataFrame:
        return self.lakehouse.spark.sql(query)
