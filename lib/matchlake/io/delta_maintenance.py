"""Cares for Delta tables: layout, old files, constraints, comments."""

from dataclasses import dataclass, field
from typing import Any

from pydantic import Field, field_validator
from pyspark.sql import DataFrame

from matchlake.errors import SchemaError, TableError
from matchlake.io.delta import Lakehouse
from matchlake.io.delta_properties import (
    add_constraints,
    drop_constraints,
    read_properties,
    set_properties,
)
from matchlake.io.delta_schema import CHANGES, STATISTICS
from matchlake.io.erasure_marks import pending_erasure
from matchlake.io.old_files import KEPT, LEAST_HOURS, kept_hours, vacuum
from matchlake.params import Params
from matchlake.schemas import TableSpec, check_name, quote_identifier, quote_text


class MaintainParams(Params):
    """What `maintain_tables` does."""

    tables: tuple[str, ...] | None = None
    """Names of the tables; null: all there are."""
    optimize: bool = True
    """Whether small files are joined, and rows clustered where `cluster_by` says so."""
    cluster_by: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    """Columns by which a table's rows lie together, so that filters on them read less."""
    vacuum: bool = True
    """Whether files are removed that no version of the table still needs."""
    vacuum_hours: float | None = Field(None, ge=0)
    """How long a removed row's file is kept; null: each table's own retention, and never less.

    Never less than an hour: a younger file may belong to a write that has not committed.
    """

    @field_validator("tables")
    @classmethod
    def _names_of_tables(cls, names: tuple[str, ...] | None) -> tuple[str, ...] | None:
        return names and tuple(map(_table_name, names))

    @field_validator("cluster_by")
    @classmethod
    def _by_table(cls, wanted: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
        return {_table_name(name): columns for name, columns in wanted.items()}


@dataclass(frozen=True)
class Maintenance:
    """One table; `spec` is how it is declared, if it is."""

    table: str
    spec: TableSpec | None
    lakehouse: Lakehouse = field(repr=False)
    cluster_by: tuple[str, ...] = ()

    def allow(self, wanted: MaintainParams) -> None:
        """Raises TableError for what cannot be done to the table; changes nothing.

        That is to cluster by a column that it has not, and a VACUUM that would remove what its
        retention, or a running write, still needs.
        """
        there = self.lakehouse.read(self.table).columns
        missing = [name for name in self.cluster_by if name not in there]
        if missing:
            raise TableError(
                f"{self.table} has no column {', '.join(missing)} to cluster by; it has "
                f"{', '.join(there)}. No table was touched."
            )
        if wanted.vacuum:
            self._allow_vacuum(wanted.vacuum_hours)

    def _allow_vacuum(self, wanted: float | None) -> None:
        hours = kept_hours(self.lakehouse, self.table)
        if hours < LEAST_HOURS:  # whatever is wanted: newer versions of Delta go by the table
            raise TableError(
                f"{self.table} keeps its old files for {hours:g} hours. A VACUUM below "
                f"{LEAST_HOURS:g} hour also removes files of writes that have not committed, and "
                f"their rows are lost. No table was touched. Set the table's {KEPT} to 'interval "
                f"{LEAST_HOURS:g} hour' or more, or leave the table out of maintain.tables."
            )
        if wanted is not None and wanted < hours:
            raise TableError(
                f"{self.table} keeps its old files for {hours:g} hours; maintain.vacuum_hours "
                f"{wanted:g} would remove some that running queries, streams and RESTORE still "
                f"need. No table was touched. Set it to {hours:g} or more, or lower the table's "
                f"own {KEPT} if nobody reads its past."
            )

    def declare(self) -> list[str]:
        """Brings comments, clustering, change data feed and constraints to what is declared.

        Returns what was done; raises TableError where rows break a constraint.
        """
        done = self._clustering()
        if self.spec is None:
            return done
        return [
            *self._comments(self.spec),
            *done,
            *self._change_feed(self.spec),
            *self._checks(self.spec),
        ]

    def optimize(self) -> str | None:
        """Joins small files and clusters; what became of how many, if anything did."""
        metrics = self._sql(f"OPTIMIZE {self._name}").collect()[0]["metrics"]
        removed, added = metrics["numFilesRemoved"], metrics["numFilesAdded"]
        return f"{removed} file(s) became {added}" if removed or added else None

    def vacuum(self, hours: float | None) -> str | None:
        """Removes files unused for `hours`, null: as long as the table itself keeps them.

        A table whose erasure is not complete is left alone; then it returns what is to be done.
        """
        told = pending_erasure(self.lakehouse, self.table)
        if told is None:
            vacuum(self.lakehouse, self.table, hours)
            return None
        return f"{told} It was not vacuumed: old files go with the erasure."

    def _clustering(self) -> list[str]:
        if not self.cluster_by or self._detail("clusteringColumns") == list(self.cluster_by):
            return []
        columns = ", ".join(map(quote_identifier, self.cluster_by))
        kept = read_properties(self.lakehouse, self.table).get(STATISTICS)
        if kept:  # Delta clusters only by columns of which it keeps statistics.
            more = {quote_identifier(name): None for name in self.cluster_by}
            wanted = ",".join(dict.fromkeys(kept.split(",")) | more)
            set_properties(self.lakehouse, self.table, {STATISTICS: wanted})
        self._sql(f"ALTER TABLE {self._name} CLUSTER BY ({columns})")
        return [f"clustered by {', '.join(self.cluster_by)}"]

    def _comments(self, spec: TableSpec) -> list[str]:
        there = self.lakehouse.read(self.table).schema
        commented = {field.name: (field.metadata or {}).get("comment") for field in there}
        changed = [
            column
            for column in spec.columns
            if column.name in commented and commented[column.name] != column.comment
        ]
        for column in changed:
            self._sql(
                f"ALTER TABLE {self._name} ALTER COLUMN {quote_identifier(column.name)}"
                f" COMMENT {quote_text(column.comment)}"
            )
        own = self._detail("description") != spec.comment
        if own:
            self._sql(f"COMMENT ON TABLE {self._name} IS {quote_text(spec.comment)}")
        count = len(changed) + own
        return [f"{count} comment(s) renewed"] if count else []

    def _change_feed(self, spec: TableSpec) -> list[str]:
        there = read_properties(self.lakehouse, self.table).get(CHANGES) == "true"
        if there or not spec.changes:
            return []
        set_properties(self.lakehouse, self.table, {CHANGES: "true"})
        return ["change data feed on"]

    def _checks(self, spec: TableSpec) -> list[str]:
        wanted = dict(spec.checks)
        drop_constraints(self.lakehouse, self.table, wanted)
        added = add_constraints(self.lakehouse, self.table, wanted)
        return [f"constraint {name}" for name in added]

    def _detail(self, key: str) -> Any:
        return self._sql(f"DESCRIBE DETAIL {self._name}").select(key).collect()[0][0]

    @property
    def _name(self) -> str:
        return self.lakehouse.name(self.table)

    def _sql(self, query: str) -> DataFrame:
        return self.lakehouse.spark.sql(query)


def _table_name(name: str) -> str:
    try:
        return check_name(name)
    except SchemaError as error:
        raise ValueError(str(error)) from None
