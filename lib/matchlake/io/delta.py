"""Delta tables of the lakehouse: named, created, read and written in one place.

No write stores a row of an erased user in a table that declares its `user_columns`.

On a platform Unity Catalog manages the tables. Locally, processes share no metastore, so a table is
found by its folder: `schema.name` is in `<folder>/schema/name`, and a session registers it on first
use. Any number of processes can therefore read and write the same lakehouse at once.
"""

import logging
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from py4j.protocol import Py4JError
from pyspark.errors import PySparkException
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from matchlake.errors import SchemaError, TableError
from matchlake.io.databricks import on_databricks
from matchlake.io.delta_schema import (
    shape_differences,
    struct_type,
    table_properties,
    typed_rows,
)
from matchlake.io.erased_users import ERASED_USERS, ErasedUsers, known_erased_users
from matchlake.io.salt import Salt
from matchlake.io.telemetry import step
from matchlake.schemas import TableSpec, ViewSpec, check_name, quote_identifier, quote_text

_log = logging.getLogger(__name__)

T = TypeVar("T")

_TRIES = 4
_CREATED_BY_ANOTHER = (
    "DELTA_PROTOCOL_CHANGED",
    "DELTA_METADATA_CHANGED",
    "DELTA_CREATE_TABLE_WITH_NON_EMPTY_LOCATION",
    "DELTA_SCHEMA_NOT_PROVIDED",
)
"""Delta's errors for a table that another run creates at the same time."""
WRITTEN_BY_ANOTHER = ("DELTA_CONCURRENT_APPEND", "DELTA_CONCURRENT_DELETE")
"""Delta's errors if another run wrote rows after they were read; nothing is written."""
_GONE = (
    "DELTA_VERSION_NOT_FOUND",
    "Cannot time travel Delta table to version",
    "DELTA_UNSUPPORTED_TIME_TRAVEL_BEYOND_DELETED_FILE_RETENTION",
    "DELTA_FILE_NOT_FOUND",
    "FILE_NOT_EXIST",
    "DELTA_CANNOT_RESTORE_TABLE_VERSION",
    "Not all files from version",
)
"""The errors of Delta and Spark for a version without its log or files, as after VACUUM."""


@cache
def _warn_once(text: str) -> None:
    _log.warning(text)


@dataclass(frozen=True)
class Lakehouse:
    """The tables of `catalog`, or, without one, of the local `folder`."""

    spark: SparkSession = field(repr=False)
    catalog: str | None = None
    folder: str | None = None
    views: tuple[ViewSpec, ...] = field(default=(), repr=False)
    """Views that a local session creates on first use."""
    salt: Callable[[], Salt] | None = field(default=None, repr=False, compare=False)
    """Returns the salt of the hashes of erased users."""

    def name(self, table: str) -> str:
        """The full, quoted name of `schema.table`; raises SchemaError for anything else."""
        schema, short = check_name(table).split(".")
        parts = [self.catalog, schema, short] if self.catalog else [schema, short]
        return ".".join(quote_identifier(part) for part in parts)

    def path(self, table: str) -> str | None:
        """The local folder of `schema.table`; None if a catalog manages the tables."""
        schema, short = check_name(table).split(".")
        return str(Path(self.folder).absolute() / schema / short) if self.folder else None

    def exists(self, table: str) -> bool:
        """Whether the table or view exists.

        A local table is registered with the session, and a view of `views` is created.
        """
        if self.spark.catalog.tableExists(self.name(table)):
            return True
        path = self.path(table)
        if path is None:
            return False
        if not _is_committed(Path(path) / "_delta_log"):
            return any(view.name == table and self.create_view(view) for view in self.views)
        self._create_schema(table)
        self.spark.sql(
            f"CREATE TABLE IF NOT EXISTS {self.name(table)} USING DELTA LOCATION {quote_text(path)}"
        )
        return True

    def tables(self) -> Iterator[str]:
        """The names of the tables below the local folder, sorted."""
        if self.folder:
            for log in sorted(Path(self.folder).glob("*/*/_delta_log")):
                if not _is_committed(log):
                    continue
                try:
                    yield check_name(f"{log.parent.parent.name}.{log.parent.name}")
                except SchemaError as error:
                    _warn_once(f"{log.parent} is left out: {error}")

    def register_tables(self) -> list[str]:
        """Registers every table below the local folder with the session; returns their names."""
        return [table for table in self.tables() if self.exists(table)]

    def create(self, spec: TableSpec, *, add_columns: bool = False) -> None:
        """Creates the table if it is missing; raises TableError if it has another shape.

        With `add_columns` a table that only lacks columns gets them, with null in its rows. If
        several runs create the table at the same moment, one creates it and the others use it.
        """
        retry_conflicts(lambda: self._create(spec, add_columns), _CREATED_BY_ANOTHER, spec.name)

    def _create(self, spec: TableSpec, add_columns: bool) -> None:  # noqa: FBT001 - passed on
        if self.exists(spec.name):
            if add_columns:
                self._add_columns(spec)
            self._check_shape(spec)
            return
        self._create_schema(spec.name)
        cluster = ", ".join(quote_identifier(name) for name in spec.cluster_by)
        partition = ", ".join(quote_identifier(name) for name in spec.partition_by)
        path = self.path(spec.name)
        self.spark.sql(
            f"CREATE TABLE IF NOT EXISTS {self.name(spec.name)} ({spec.ddl}) USING DELTA"
            + (f" PARTITIONED BY ({partition})" if partition else "")
            + (f" CLUSTER BY ({cluster})" if cluster else "")
            + f" COMMENT {quote_text(spec.comment)}"
            + table_properties(spec)
            + (f" LOCATION {quote_text(path)}" if path else "")
        )

    def read(self, table: str, version: int | None = None) -> DataFrame:
        """The table, or its state at a Delta `version`; raises TableError if it is missing."""
        self.require(table)
        if version is None:
            return self.spark.table(self.name(table))
        return self.spark.sql(f"SELECT * FROM {self.name(table)} VERSION AS OF {int(version)}")

    def require(self, *tables: str) -> None:
        """Raises TableError, with the names of the tables, unless every table or view exists."""
        missing = [table for table in tables if not self.exists(table)]
        if missing:
            existing = ", ".join(self.tables()) if self.folder else f"see catalog {self.catalog}"
            raise TableError(
                f"No table {', '.join(missing)} in the lakehouse (tables: {existing or 'none'})."
                " Run the job that writes it first; `matchlake run --help` lists the jobs."
            )

    def version(self, table: str) -> int:
        """The table's current Delta version."""
        self.require(table)
        newest = self.spark.sql(f"DESCRIBE HISTORY {self.name(table)} LIMIT 1").collect()
        return int(newest[0].version)

    def changes(self, table: str, first: int, last: int) -> DataFrame:
        """The rows that versions `first` to `last` changed, with `_change_type`. Lazy."""
        reader = self.spark.read.option("readChangeFeed", value=True)
        reader = reader.option("startingVersion", first).option("endingVersion", last)
        return reader.table(self.name(table))

    def frame(self, rows: Sequence[tuple[Any, ...]], spec: TableSpec) -> DataFrame:
        """A frame of Python rows with the columns and types of `spec`. Lazy."""
        return self.spark.createDataFrame(rows, struct_type(spec))

    def erased_users(self) -> ErasedUsers | None:
        """The users that were erased; None if there are none. One Spark job, if the table exists.

        Raises ConfigError if erased users cannot be recognised, for lack of the salt.
        """
        if not self.exists(ERASED_USERS.name):
            return None
        return known_erased_users(self.read(ERASED_USERS.name), self.salt)

    def rows_of(self, frame: DataFrame, spec: TableSpec) -> DataFrame:
        """The rows of `frame` as a write stores them: typed, and without erased users. Lazy."""
        return self._without_erased(typed_rows(frame, spec), spec)

    def _without_erased(self, rows: DataFrame, spec: TableSpec) -> DataFrame:
        erased = self.erased_users() if spec.user_columns else None
        return erased.removed_from(rows, spec.user_columns) if erased else rows

    def append(self, frame: DataFrame, spec: TableSpec) -> None:
        """Adds the rows of `frame`, with the columns of `spec`, in one commit."""
        self.create(spec)
        with step(f"append {spec.name}"):
            self.rows_of(frame, spec).writeTo(self.name(spec.name)).append()

    def replace(self, frame: DataFrame, spec: TableSpec) -> None:
        """Replaces all rows in one commit: a reader sees the old rows or the new ones.

        Columns and partitions follow `spec`, even if the table had others before.
        """
        name = self.name(spec.name)
        rows = self.rows_of(frame, spec)
        if not self.exists(spec.name):
            self.create(spec)
        other_shape = shape_differences(
            self.spark.table(name).schema, struct_type(spec), extra=False
        )
        if other_shape or self._partitions(name) != set(spec.partition_by):
            writer = rows.write.format("delta").mode("overwrite").partitionBy(*spec.partition_by)
            with step(f"replace {spec.name}"):
                writer.option("overwriteSchema", "true").saveAsTable(name)
        else:
            with step(f"replace {spec.name}"):
                rows.writeTo(name).overwrite(F.lit(True))  # noqa: FBT003 - a condition, not a flag

    def replace_where(
        self, frame: DataFrame, spec: TableSpec, where: Column | Mapping[str, Any]
    ) -> None:
        """Replaces the rows that `where` selects, in one commit; a rerun is safe.

        `where` is a condition, or a mapping of column names to required values. The commit fails if
        another run has written such rows in the meantime, because `frame` does not contain them.
        """
        self.create(spec)
        condition = where if isinstance(where, Column) else _all_equal(where)
        with step(f"replace {spec.name}"):
            self.rows_of(frame, spec).writeTo(self.name(spec.name)).overwrite(condition)

    def merge(
        self,
        frame: DataFrame,
        spec: TableSpec,
        matched: str | None = None,
        *,
        flags: Sequence[str] = (),
        insert_if: str = "true",
        retry_on_conflict: bool = False,
    ) -> int:
        """Updates or inserts by `spec.keys`, in one commit; a rerun with equal rows adds nothing.

        `frame` must hold one row per key. Equal rows are not rewritten. `matched` can give other
        MERGE clauses for existing rows, in which `s` is the new row and `t` the old one. They and
        `insert_if` may also read the columns `flags` of `frame`, which are not written. The commit
        fails if another run wrote to the table in the meantime. With `retry_on_conflict` it is
        tried again: for audit tables, in which rows do not depend on earlier rows. Returns the
        number of inserted rows.
        """
        if not spec.keys:
            raise SchemaError(f"{spec.name} declares no keys, so rows cannot be merged into it.")
        self.create(spec)
        source = f"merge_{uuid.uuid4().hex}"
        rows = self._without_erased(frame.select(*spec.column_names, *flags), spec)
        rows.createOrReplaceTempView(source)
        rest = [name for name in spec.column_names if name not in spec.keys]
        if matched is None:
            assignments = ", ".join(f"{name} = s.{name}" for name in map(quote_identifier, rest))
            matched = (
                f"WHEN MATCHED AND NOT ({_pairs(rest)}) THEN UPDATE SET {assignments}"
                if rest
                else ""
            )
        # Names the columns, because `*` would include columns that are no longer declared.
        names = [quote_identifier(name) for name in spec.column_names]
        values = ", ".join(f"s.{name}" for name in names)
        merge = (
            f"MERGE INTO {self.name(spec.name)} t USING {source} s ON {_pairs(spec.keys)}"
            f" {matched} WHEN NOT MATCHED AND {insert_if}"
            f" THEN INSERT ({', '.join(names)}) VALUES ({values})"
        )
        try:
            conflicts = WRITTEN_BY_ANOTHER if retry_on_conflict else ()
            with step(f"merge {spec.name}"):
                done = retry_conflicts(
                    lambda: self.spark.sql(merge).collect(), conflicts, spec.name
                )
        finally:
            self.spark.catalog.dropTempView(source)
        # The result has no row if Delta skips the command by its transaction number.
        return int(done[0]["num_inserted_rows"]) if done else 0

    def create_view(self, view: ViewSpec) -> bool:
        """Creates or replaces a view. Returns False if a table that it needs is missing.

        The query's `schema.table` names have no catalog, so the session's current catalog must be
        that of the lakehouse.
        """
        if not all(self.exists(need) for need in view.needs):
            _log.info("view %s is left out: it needs %s", view.name, ", ".join(view.needs))
            return False
        self._create_schema(view.name)
        columns = ", ".join(
            f"{quote_identifier(name)} COMMENT {quote_text(text)}" for name, text in view.columns
        )
        head = f"VIEW {self.name(view.name)} ({columns})"
        comment = f"COMMENT {quote_text(view.comment)} AS"
        if view.has_measures:
            # Spark 4.2 does not replace a metric view; Databricks does, and keeps its grants.
            if not on_databricks():
                self.spark.sql(f"DROP VIEW IF EXISTS {self.name(view.name)}")
            metrics = f"WITH METRICS LANGUAGE YAML {comment} $$\n{view.query}\n$$"
            self.spark.sql(f"CREATE OR REPLACE {head} {metrics}")
        else:
            self.spark.sql(f"CREATE OR REPLACE {head} {comment} {view.query}")
        return True

    def _partitions(self, name: str) -> set[str]:
        columns = self.spark.catalog.listColumns(name)  # starts no job, unlike DESCRIBE DETAIL
        return {column.name for column in columns if column.isPartition}

    def _create_schema(self, table: str) -> None:
        schema = self.name(table).rpartition(".")[0]
        self.spark.sql(f"CREATE SCHEMA IF NOT EXISTS {schema}")

    def _add_columns(self, spec: TableSpec) -> None:
        there = self.spark.table(self.name(spec.name)).columns
        new = [column for column in spec.columns if column.name not in there]
        if new:
            ddl = ", ".join(column._replace(nullable=True).ddl for column in new)
            self.spark.sql(f"ALTER TABLE {self.name(spec.name)} ADD COLUMNS ({ddl})")
            _log.info("%s: added %s", spec.name, ", ".join(column.name for column in new))

    def _check_shape(self, spec: TableSpec) -> None:
        problems = shape_differences(
            self.spark.table(self.name(spec.name)).schema, struct_type(spec)
        )
        if problems:
            raise TableError(
                f"{spec.name} is not as declared: {'; '.join(problems)}. Nothing was written. "
                "Change the table to the declared columns, or change the declaration."
            )


def _is_committed(log: Path) -> bool:
    """Whether a log holds a version. The log of an unfinished table has none."""
    return any(log.glob("[0-9]*.json")) or any(log.glob("[0-9]*.checkpoint*.parquet"))


def is_gone(error: Exception) -> bool:
    """Whether the error means that an old version has lost its log or its files."""
    return any(text in str(error) for text in _GONE)


def retry_conflicts(action: Callable[[], T], conflicts: Sequence[str], table: str) -> T:
    """Returns the result of `action`. Tries again after one of `conflicts`.

    Conflicts are parts of Delta's messages for a table that another run has just written.
    """
    for attempt in range(1, _TRIES):
        try:
            return action()
        except (PySparkException, Py4JError) as error:
            if not any(text in str(error) for text in conflicts):
                raise
            _log.info("%s: another run wrote at the same time; trying again", table)
            time.sleep(attempt)
    return action()


def _all_equal(values: Mapping[str, Any]) -> Column:
    """The condition that each of the columns has its value."""
    condition = F.lit(True)  # noqa: FBT003 - a condition, not a flag
    for name, value in values.items():
        condition = condition & (F.col(name) == F.lit(value))
    return condition


def _pairs(names: Sequence[str]) -> str:
    """The condition that `names` are equal on both sides of a MERGE, null equal to null."""
    quoted = [quote_identifier(name) for name in names]
    return " AND ".join(f"t.{name} <=> s.{name}" for name in quoted)
