"""Erases one user from the lakehouse: from tables, quarantine and old files.

The history of a table does not show the id of the user. It shows a MERGE with a view of one row, or
with the positions of the rows that were found.
"""

import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from matchlake.ingest.files.params import LakeSource
from matchlake.ingest.files.user_rows import row_match
from matchlake.ingest.parse.user_match import MENTIONS, NAMES, matched
from matchlake.ingest.schema import ERASED, ERROR_CODE, QUARANTINED, STATUS, VALID
from matchlake.ingest.streams.audit import BatchLog
from matchlake.ingest.streams.erased_records import KEPT_COLUMNS
from matchlake.ingest.streams.user_records import record_match
from matchlake.io.delta import WRITTEN_BY_ANOTHER, Lakehouse, retry_conflicts
from matchlake.io.erasure_marks import clear_erasure, mark_erasure
from matchlake.io.old_files import remove_old_files
from matchlake.schemas import USER_ID, quote_identifier

USER_COLUMNS = (USER_ID, "related_user_id")
"""The columns with ids of users in tables that nothing declares."""

_RECORD = ("checkpoint_id", "batch_id", "partition", "offset")
_ROW = ("source", "file", "row_text")
_VIEW = "matchlake_erased_user"


@dataclass(frozen=True)
class Erased:
    """The rows of the user in one table."""

    table: str
    rows: int
    """Number of deleted rows; in a stream table, of emptied valid records."""
    quarantined: int = 0
    """Emptied quarantined records, or deleted quarantined rows, of the user."""
    unparsed_matches: int = 0
    """Quarantined records or rows that only mention the id; they stay, unless erased by request."""
    left: int = 0
    """Remaining rows of the user: 0, unless a job has written rows meanwhile."""
    hours: float = 0
    """The age at which `maintain_tables` removes the old files; 0: they are already removed."""


@dataclass(frozen=True)
class Erasure:
    """The erasure of one user from tables of the lakehouse."""

    user: str = field(repr=False)
    batch_logs: Sequence[BatchLog]
    """The batch logs of the streams: their tables keep the positions of erased records."""
    lakehouse: Lakehouse = field(repr=False)
    user_columns: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """The user columns of declared tables; other tables have those of USER_COLUMNS."""
    conditions: Mapping[str, str] = field(default_factory=dict)
    """Per table a SQL condition of the user's rows; it names a row as `t`, the user as `u.id`."""
    quarantine: str = ""
    """The table of quarantined rows of lake files."""
    sources: Mapping[str, LakeSource] = field(default_factory=dict)
    """The lake sources with user columns, by name."""
    include_unparsed_matches: bool = False
    """Whether to erase also quarantined records and rows that hold the id anywhere."""

    def run(self, tables: Sequence[str]) -> list[Erased]:
        """Erases the user from each of the tables, and then the files of all older versions.

        Tables without users are skipped. All others are marked before the first is changed, and
        each loses its mark when it is done. A run after a crash completes the erasure. Readers of
        older versions fail. An append that runs during the mark fails; no committed row is lost.
        """
        with self._user_view():
            steps = {table: step for table in tables if (step := self._step(table))}
            for table in steps:
                mark_erasure(self.lakehouse, table, self.user)
            return [self._erase(table, step) for table, step in steps.items()]

    @contextmanager
    def _user_view(self) -> Iterator[None]:
        """The view of one row with the id of the user: a statement needs no literal."""
        spark = self.lakehouse.spark
        spark.createDataFrame([(self.user,)], "id string").createOrReplaceTempView(_VIEW)
        try:
            yield
        finally:
            spark.catalog.dropTempView(_VIEW)

    def _step(self, table: str) -> Callable[[], Erased] | None:
        """Returns the function that erases the user's rows; None for a table without users."""
        batch_logs = [each for each in self.batch_logs if each.stream.table == table]
        condition = self._condition(table)
        if batch_logs:
            return partial(self._empty, batch_logs, condition or "false")
        if table == self.quarantine:
            return partial(self._delete_quarantined, table) if self.sources else None
        return partial(self._delete, table, condition) if condition else None

    def _erase(self, table: str, step: Callable[[], Erased]) -> Erased:
        done = step()
        self._sql(f"REORG TABLE {self._name(table)} APPLY (PURGE)")
        hours = remove_old_files(self.lakehouse, table)
        clear_erasure(self.lakehouse, table, self.user)
        return replace(done, hours=hours)

    def _condition(self, table: str) -> str | None:
        """SQL condition of the user's rows; None for a table without users."""
        present = self.lakehouse.read(table).columns
        columns = [c for c in self.user_columns.get(table, USER_COLUMNS) if c in present]
        declared = [self.conditions[table]] if table in self.conditions else []
        is_user = [f"CAST(t.{quote_identifier(name)} AS STRING) = u.id" for name in columns]
        return " OR ".join([*declared, *is_user]) or None

    def _delete(self, table: str, condition: str) -> Erased:
        done = self._merge(table, _VIEW, "u", condition, "DELETE")
        return Erased(table, done, left=self._count(table, condition))

    def _delete_quarantined(self, table: str) -> Erased:
        """Deletes the user's rows from the quarantine of lake files."""
        counts, chosen = self._chosen(self._matched_rows(table))
        same = " AND ".join(f"t.{name} <=> s.{name}" for name in _ROW)
        with self._fixed(chosen.select(*_ROW).distinct()) as source:
            self._merge(table, source, "s", same, "DELETE")
        stay = self._staying(counts)
        left = self._chosen(self._matched_rows(table))[1].count()
        return Erased(table, 0, sum(counts.values()) - stay, stay, left)

    def _empty(self, batch_logs: Sequence[BatchLog], condition: str) -> Erased:
        """Empties the user's records. Their positions stay, so every offset stays accounted for."""
        stream = batch_logs[0].stream
        table = stream.table
        # Uses the columns of the table, because conf may no longer declare a column.
        names = [each for each in self.lakehouse.read(table).columns if each not in KEPT_COLUMNS]
        nulls = ", ".join(f"{quote_identifier(each)} = NULL" for each in names)
        empty = f"UPDATE SET {STATUS.name} = '{ERASED}', {nulls}"
        of_user = f"t.{STATUS.name} = '{VALID}' AND ({condition})"
        valid = self._merge(table, _VIEW, "u", of_user, empty)
        counts, chosen = self._chosen(self._matched_records(batch_logs[0]))
        same = " AND ".join(f"t.{each} = s.{each}" for each in _RECORD)
        with self._fixed(chosen.select(*_RECORD)) as source:
            self._merge(table, source, "s", same, empty)
        for batch_log in batch_logs:
            self._recount(batch_log)
        stay = self._staying(counts)
        left = self._count(table, of_user)
        left += self._chosen(self._matched_records(batch_logs[0]))[1].count()
        return Erased(table, valid, sum(counts.values()) - stay, stay, left)

    def _matched_records(self, batch_log: BatchLog) -> DataFrame:
        """The quarantined records of a stream that name or mention the user."""
        stream = batch_log.stream
        rows = self.lakehouse.read(stream.table).where(F.col(STATUS.name) == QUARANTINED)
        columns = ("raw.key", "raw.value", ERROR_CODE.name)
        match = matched(partial(record_match, stream, self.user), *map(F.col, columns))
        return rows.select(*_RECORD, match.alias("match")).where("match IS NOT NULL")

    def _matched_rows(self, table: str) -> DataFrame:
        """The quarantined rows of lake files that name or mention the user."""
        found = [
            self.lakehouse.read(table)
            .where(F.col("source") == name)
            .select(
                *_ROW,
                matched(partial(row_match, source, self.user), F.col("row_text")).alias("match"),
            )
            for name, source in self.sources.items()
        ]
        first, *others = found
        for each in others:
            first = first.union(each)
        return first.where("match IS NOT NULL")

    def _chosen(self, matches: DataFrame) -> tuple[dict[str, int], DataFrame]:
        """The counts of `names` and `mentions`, and the rows to erase."""
        counts = {row["match"]: row["count"] for row in matches.groupBy("match").count().collect()}
        wanted = matches if self.include_unparsed_matches else matches.where(f"match = '{NAMES}'")
        return counts, wanted

    def _staying(self, counts: Mapping[str, int]) -> int:
        """The number of matches that are not erased."""
        return 0 if self.include_unparsed_matches else counts.get(MENTIONS, 0)

    def _recount(self, batch_log: BatchLog) -> None:
        """Counts all batches with erased records again, also those of earlier erasures."""
        batch_log.prepare()
        rows = self.lakehouse.read(batch_log.stream.table).where(f"{STATUS.name} = '{ERASED}'")
        batches = rows.select("checkpoint_id", "batch_id").distinct().collect()
        if batches:
            batch_log.recount({(row.checkpoint_id, row.batch_id) for row in batches})

    def _merge(self, table: str, source: str, alias: str, condition: str, then: str) -> int:
        """Deletes or updates the matching rows in one commit. Returns their number."""
        merge = (
            f"MERGE INTO {self._name(table)} t USING {source} {alias} ON {condition}"
            f" WHEN MATCHED THEN {then}"
        )
        done = retry_conflicts(lambda: self._sql(merge).collect(), WRITTEN_BY_ANOTHER, table)
        return int(done[0]["num_affected_rows"])

    def _count(self, table: str, condition: str) -> int:
        """The number of rows of a table that fulfil a condition of the user."""
        query = f"SELECT count(*) FROM {self._name(table)} t, {_VIEW} u WHERE {condition}"
        return int(self._sql(query).collect()[0][0])

    @contextmanager
    def _fixed(self, rows: DataFrame) -> Iterator[str]:
        """The name of a temporary view of the collected rows.

        A MERGE reads its source twice. Rows that are found in the table that it changes are
        therefore collected first. They are the quarantined ones of one user.
        """
        name = f"erasure_{uuid.uuid4().hex}"
        spark = self.lakehouse.spark
        spark.createDataFrame(rows.collect(), rows.schema).createOrReplaceTempView(name)
        try:
            yield name
        finally:
            spark.catalog.dropTempView(name)

    def _name(self, table: str) -> str:
        return self.lakehouse.name(table)

    def _sql(self, query: str) -> DataFrame:
        return self.lakehouse.spark.sql(query)
