"""Published tables in PostgreSQL: fills a new table, then renames it in one transaction.

Readers always see the rows of exactly one version. The comment of the table has the version.
"""

import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
from psycopg import Connection
from psycopg.errors import (
    LockNotAvailable,
    NotNullViolation,
    OperationalError,
    UniqueViolation,
)
from psycopg.rows import DictRow
from psycopg.sql import SQL, Composed, Identifier, Literal
from pyarrow import csv

from matchlake.errors import TableError
from matchlake.io.secrets.value import Secret
from matchlake.serve.online.params import PostgresParams
from matchlake.serve.online.postgres_connection import connect, connected, explained
from matchlake.serve.online.postgres_types import postgres_type
from matchlake.serve.online.tables import (
    Published,
    Rows,
    TableRows,
    check_key,
    refuse_empty,
    refuse_rows,
)

_log = logging.getLogger(__name__)

NEW, OLD = "__new", "__old"
"""The suffixes of unfinished tables."""
_TRIES = 5
_CSV = csv.WriteOptions(include_header=False)
_COMMENT = "SELECT obj_description(to_regclass(%s), 'pg_class')"


@dataclass(frozen=True)
class PostgresStore:
    """The published tables of one schema of a database."""

    params: PostgresParams
    password: Secret | None = field(default=None, repr=False)

    kind = "postgres"

    def __str__(self) -> str:
        at = self.params
        return f"{at.host}:{at.port}/{at.database}.{at.schema_name}"

    @contextmanager
    def locked(self, name: str) -> Iterator["PostgresTables"]:
        """Locks the table against other runs; raises TableError if another run has the lock.

        Removes the tables that a killed run has left. If a run is killed, the server releases its
        lock.
        """
        with connected(self.params, self.password) as connection:
            tables = PostgresTables(self, connection)
            with explained(str(self)):
                tables.lock(name)
            yield tables

    def count(self, name: str, columns: Iterable[str], user: str) -> int:
        """Returns the number of rows of a user; 0 without the table."""
        with connected(self.params, self.password) as connection:
            return PostgresTables(self, connection).count(name, columns, user)

    def open(self, name: str) -> "PostgresTable":
        """Opens the table for lookups by key."""
        return PostgresTable(self.params, self.password, name)


@dataclass(frozen=True)
class PostgresTables:
    """Changes tables through one connection that holds their lock."""

    store: PostgresStore
    connection: Connection[Any]

    def lock(self, name: str) -> None:
        """Locks a table, and removes the tables that a killed run has left."""
        schema = self.store.params.schema_name
        key = f"matchlake.{schema}.{name}"
        taken = "SELECT pg_try_advisory_lock(hashtextextended(%s, 0))"
        row = self.connection.execute(taken, [key]).fetchone()
        if not (row and row[0]):
            raise TableError(
                f"Another run is writing {schema}.{name} in {self.store}. Wait until it has ended."
            )
        self._run("CREATE SCHEMA IF NOT EXISTS {}", schema)
        for ending in (NEW, OLD):
            self._run("DROP TABLE IF EXISTS {}", (schema, name + ending))

    def publish(
        self, name: str, rows: TableRows, published: Published, *, allow_empty: bool = False
    ) -> int:
        """Replaces the table by `rows`; returns their number.

        Raises InputError for null or duplicate keys, for an empty table, and for a string that
        PostgreSQL cannot store. Raises SourceError if the connection is lost. The old table then
        stays.
        """
        with explained(str(self.store)):
            new = (self.store.params.schema_name, name + NEW)
            count = self._fill(new, rows)
            self._add_key(new, published)
            if not count and not allow_empty:
                refuse_empty(published.table)
            self._describe(new, published)
            self._rename(name)
        return count

    def _fill(self, new: tuple[str, str], rows: TableRows) -> int:
        """Creates the new table and copies the rows, in one transaction."""
        columns = [
            SQL("{} {}").format(Identifier(each.name), SQL(postgres_type(each.name, each.type)))
            for each in rows.columns
        ]
        create = SQL("CREATE TABLE {} ({})").format(Identifier(*new), SQL(", ").join(columns))
        # With FREEZE, older transactions also see the rows instead of an empty table.
        copy = SQL("COPY {} FROM STDIN (FORMAT csv, FREEZE)").format(Identifier(*new))
        count = 0
        with self.connection.transaction(), self.connection.cursor() as cursor:
            cursor.execute(create)
            with cursor.copy(copy) as stream:
                for batch in rows.text_batches():
                    written = pa.BufferOutputStream()
                    csv.write_csv(batch, written, _CSV)
                    stream.write(written.getvalue().to_pybytes())
                    count += batch.num_rows
        return count

    def _add_key(self, new: tuple[str, str], published: Published) -> None:
        keys = self._names(published.keys)
        try:
            self._run("ALTER TABLE {} ADD PRIMARY KEY ({})", new, keys)
        except (NotNullViolation, UniqueViolation):
            refuse_rows(published.table, published.keys, *self._bad_keys(new, published.keys))
            raise

    def _bad_keys(self, new: tuple[str, str], keys: Sequence[str]) -> tuple[int, int]:
        """Returns the number of rows with a null key, and of rows with a duplicate key."""
        any_null = SQL(" OR ").join(SQL("{} IS NULL").format(Identifier(key)) for key in keys)
        query = SQL(
            "SELECT coalesce(sum(n) FILTER (WHERE missing), 0)::bigint,"
            " coalesce(sum(n - 1) FILTER (WHERE NOT missing), 0)::bigint"
            " FROM (SELECT count(*) AS n, {} AS missing FROM {} GROUP BY {}) AS counted"
        ).format(any_null, Identifier(*new), self._names(keys))
        found = self.connection.execute(query).fetchone() or (0, 0)
        return int(found[0]), int(found[1])

    def _describe(self, new: tuple[str, str], published: Published) -> None:
        text = Literal(published.to_json())
        self.connection.execute(SQL("COMMENT ON TABLE {} IS {}").format(Identifier(*new), text))
        for role in self.store.params.readers:
            self._run("GRANT USAGE ON SCHEMA {} TO {}", new[0], role)
            self._run("GRANT SELECT ON {} TO {}", new, role)
        self._run("ANALYZE {}", new)

    def _rename(self, name: str) -> None:
        """Renames the new table to the name of the old table, in one transaction.

        The rename waits for running reads. If a read takes longer than the lock time-out, the run
        releases the lock and tries again, so that other readers are not blocked.
        """
        for attempt in range(1, _TRIES + 1):
            try:
                with self.connection.transaction():
                    self._swap(name)
            except LockNotAvailable:
                _log.warning("%s: a reader has the table locked (try %d)", name, attempt)
            else:
                return
        raise TableError(
            f"{name} in {self.store} was not replaced: readers have locked it for more than "
            f"{_TRIES} x {self.store.params.timeout_seconds:g} s. End their transactions, or raise "
            "online.postgres.timeout_seconds."
        )

    def _swap(self, name: str) -> None:
        schema, new, old = self.store.params.schema_name, name + NEW, name + OLD
        rename = SQL("ALTER TABLE IF EXISTS {} RENAME TO {}").format
        wait = SQL("SET LOCAL lock_timeout = {}").format(
            SQL(str(int(self.store.params.timeout_seconds * 1000)))
        )
        self.connection.execute(wait)
        self.connection.execute(rename(Identifier(schema, name), Identifier(old)))
        self.connection.execute(rename(Identifier(schema, new), Identifier(name)))
        self._run("DROP TABLE IF EXISTS {}", (schema, old))

    def erase(self, name: str, columns: Iterable[str], user: str) -> int:
        """Deletes the rows of a user; returns their number."""
        with explained(str(self.store)):
            condition, values = self._of_user(name, columns, user)
            if not values:
                return 0
            done = self.connection.execute(SQL("DELETE FROM {}").format(condition), values)
            return done.rowcount

    def count(self, name: str, columns: Iterable[str], user: str) -> int:
        """Returns the number of rows of a user."""
        with explained(str(self.store)):
            condition, values = self._of_user(name, columns, user)
            if not values:
                return 0
            query = SQL("SELECT count(*) FROM {}").format(condition)
            found = self.connection.execute(query, values).fetchone()
            return int(found[0]) if found else 0

    def _of_user(self, name: str, columns: Iterable[str], user: str) -> tuple[Composed, list[str]]:
        """Returns FROM and WHERE of the user's rows, and the parameters."""
        schema = self.store.params.schema_name
        there = self.connection.execute(
            "SELECT column_name FROM information_schema.columns"
            " WHERE table_schema = %s AND table_name = %s",
            [schema, name],
        ).fetchall()
        names = sorted(set(columns) & {row[0] for row in there})
        either = SQL(" OR ").join(SQL("{}::text = %s").format(Identifier(each)) for each in names)
        return SQL("{} WHERE {}").format(Identifier(schema, name), either), [user] * len(names)

    def _run(self, statement: str, *names: Any) -> None:
        """Runs a statement; a string, or a tuple of strings, is a name and is quoted."""
        quoted = [
            Identifier(each)
            if isinstance(each, str)
            else Identifier(*each)
            if isinstance(each, tuple)
            else each
            for each in names
        ]
        self.connection.execute(SQL(statement).format(*quoted))

    def _names(self, names: Sequence[str]) -> Composed:
        return SQL(", ").join(map(Identifier, names))


class PostgresTable:
    """Looks up keys in a table of `PostgresStore` by one connection; not thread-safe.

    It connects on first use, and reconnects after the connection was lost.
    """

    def __init__(self, params: PostgresParams, password: Secret | None, name: str) -> None:
        self._params, self._password, self._name = params, password, name
        self._connection: Connection[DictRow] | None = None
        self._keys: tuple[str, ...] = ()

    @property
    def published(self) -> Published:
        """Returns the source of the current rows."""
        name = f'"{self._params.schema_name}"."{self._name}"'
        found = self._execute(_COMMENT, [name])
        return Published.from_json(found[0]["obj_description"] if found else None, name)

    def rows(self, *key: Any) -> Rows:
        """Returns the rows whose first key columns have these values, in the order of the key."""
        keys = self._keys = self._keys or self.published.keys
        check_key(key, keys)
        given = SQL(" AND ").join(SQL("{} = %s").format(Identifier(k)) for k in keys[: len(key)])
        order = SQL(", ").join(map(Identifier, keys))
        table = Identifier(self._params.schema_name, self._name)
        query = SQL("SELECT * FROM {} WHERE {} ORDER BY {}").format(table, given, order)
        return self._execute(query, list(key))

    def close(self) -> None:
        """Closes the connection."""
        if self._connection is not None:
            self._connection.close()
        self._connection = None

    def _execute(self, query: Any, values: list[Any]) -> Rows:
        with explained(f"{self._params.host}:{self._params.port}"):
            for is_last in (False, True):
                try:
                    if self._connection is None or self._connection.closed:
                        self._connection = connect(self._params, self._password)
                    return self._connection.execute(query, values).fetchall()
                except OperationalError:
                    self.close()
                    if is_last:
                        raise
        return []
