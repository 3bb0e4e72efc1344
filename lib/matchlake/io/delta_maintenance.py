"""Maintenance of Delta tables: layout, old files, constraints, comments."""

from dataclasses import dataclass, field
from typing import Any

from pyspark.sql import DataFrame

from matchlake.errors import TableError
from matchlake.io.delta import Lakehouse
from matchlake.io.delta_properties import (
    add_constraints,
    drop_constraints,
    read_properties,
    set_properties,
)
from matchlake.io.delta_schema import CHANGES, STATISTICS
from matchlake.io.erasure_marks import pending_erasure
from matchlake.io.old_files import MIN_HOURS, RETENTION, retention_hours, vacuum
from matchlake.io.params import MaintainParams
from matchlake.schemas import TableSpec, quote_identifier, quote_text


@dataclass(frozen=True)
class Maintenance:
    """The maintenance of one table; `spec` is its declaration, if it has one."""

    table: str
    spec: TableSpec | None
    lakehouse: Lakehouse = field(repr=False)
    cluster_by: tuple[str, ...] = ()

    def require_allowed(self, params: MaintainParams) -> None:
        """Raises TableError if the maintenance is not possible; changes nothing.

        Clustering by an unknown column is not possible. A VACUUM must keep the files within the
        retention of the table, and files of a running write.
        """
        columns = self.lakehouse.read(self.table).columns
        missing = [name for name in self.cluster_by if name not in columns]
        if missing:
            raise TableError(
                f"{self.table} has no column {', '.join(missing)} to cluster by; it has "
                f"{', '.join(columns)}. No table was changed."
            )
        if params.vacuum:
            self._require_vacuum_allowed(params.vacuum_hours)

    def _require_vacuum_allowed(self, requested: float | None) -> None:
        hours = retention_hours(self.lakehouse, self.table)
        if hours < MIN_HOURS:  # newer versions of Delta ignore RETAIN and use the property
            raise TableError(
                f"{self.table} keeps its old files for {hours:g} hours. A VACUUM below "
                f"{MIN_HOURS:g} hour also removes files of writes that have not committed, and "
                f"their rows are lost. No table was changed. Set the table's {RETENTION} to "
                f"'interval {MIN_HOURS:g} hour' or more, or leave the table out of maintain.tables."
            )
        if requested is not None and requested < hours:
            raise TableError(
                f"{self.table} keeps its old files for {hours:g} hours; maintain.vacuum_hours "
                f"{requested:g} would remove some that running queries, streams and RESTORE still "
                f"need. No table was changed. Set it to {hours:g} or more, or lower the table's "
                f"own {RETENTION} if nobody reads its older versions."
            )

    def apply_declaration(self) -> list[str]:
        """Applies the declared comments, clustering, change data feed and constraints to the table.

        Returns the changes; raises TableError if rows break a constraint.
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
        """Joins small files and clusters rows; returns the change, if any."""
        metrics = self._sql(f"OPTIMIZE {self._name}").collect()[0]["metrics"]
        removed, added = metrics["numFilesRemoved"], metrics["numFilesAdded"]
        return f"{removed} file(s) rewritten as {added}" if removed or added else None

    def vacuum(self, hours: float | None) -> str | None:
        """Removes files unused for `hours`; null: the retention of the table.

        Skips a table with an incomplete erasure, and returns the instructions for it.
        """
        message = pending_erasure(self.lakehouse, self.table)
        if message is None:
            vacuum(self.lakehouse, self.table, hours)
            return None
        return f"{message} The table was not vacuumed: the erasure removes its old files."

    def _clustering(self) -> list[str]:
        if not self.cluster_by or self._detail("clusteringColumns") == list(self.cluster_by):
            return []
        columns = ", ".join(map(quote_identifier, self.cluster_by))
        indexed = read_properties(self.lakehouse, self.table).get(STATISTICS)
        if indexed:  # Delta clusters only by columns with statistics.
            more = {quote_identifier(name): None for name in self.cluster_by}
            statistics = ",".join(dict.fromkeys(indexed.split(",")) | more)
            set_properties(self.lakehouse, self.table, {STATISTICS: statistics})
        self._sql(f"ALTER TABLE {self._name} CLUSTER BY ({columns})")
        return [f"clustered by {', '.join(self.cluster_by)}"]

    def _comments(self, spec: TableSpec) -> list[str]:
        schema = self.lakehouse.read(self.table).schema
        commented = {field.name: (field.metadata or {}).get("comment") for field in schema}
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
        return [f"{count} comment(s) changed"] if count else []

    def _change_feed(self, spec: TableSpec) -> list[str]:
        there = read_properties(self.lakehouse, self.table).get(CHANGES) == "true"
        if there or not spec.changes:
            return []
        set_properties(self.lakehouse, self.table, {CHANGES: "true"})
        return ["change data feed enabled"]

    def _checks(self, spec: TableSpec) -> list[str]:
        checks = dict(spec.checks)
        drop_constraints(self.lakehouse, self.table, checks)
        added = add_constraints(self.lakehouse, self.table, checks)
        return [f"constraint {name}" for name in added]

    def _detail(self, key: str) -> Any:
        return self._sql(f"DESCRIBE DETAIL {self._name}").select(key).collect()[0][0]

    @property
    def _name(self) -> str:
        return self.lakehouse.name(self.table)

    def _sql(self, query: str) -> DataFrame:
        return self.lakehouse.spark.sql(query)
