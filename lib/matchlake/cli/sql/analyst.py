"""An analyst's session: it reads all tables and views, and writes nothing."""

import difflib
import re
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Thread
from typing import TypeVar

from pyspark.errors import AnalysisException, ParseException, PySparkException
from pyspark.sql import DataFrame, SparkSession

from matchlake.cli.launch import SPARK_ERRORS
from matchlake.cli.sql.dialects import in_spark
from matchlake.cli.sql.messages import describe_error, missing_table
from matchlake.cli.sql.statements import (
    NOTHING,
    READING_WORDS,
    first_word,
    has_code,
    mentioned_names,
    mentioned_words,
    mentions_writing,
)
from matchlake.config import JobConfig
from matchlake.errors import InputError, MatchlakeError, TableError
from matchlake.io.delta import Lakehouse
from matchlake.lakehouse.job_order import jobs_before
from matchlake.lakehouse.views import SCHEMAS, create_views, view_names
from matchlake.schemas import quote_identifier, quote_text

T = TypeVar("T")

LIST_TABLES = "TABLES"
"""The one statement that is not SQL: lists tables and views with their comments."""

_USE = re.compile(r"\s*USE(?:\s+(?:SCHEMA|DATABASE))?\s+`?(\w+)`?\s*", re.IGNORECASE)


@dataclass(frozen=True)
class Analyst:
    """Answers queries on the lakehouse of one environment."""

    lakehouse: Lakehouse
    config: JobConfig

    @property
    def spark(self) -> SparkSession:
        """The session that runs the queries."""
        return self.lakehouse.spark

    def query(self, statement: str) -> DataFrame:
        """The result of one reading statement, as a lazy frame.

        The statement `tables` lists tables and views; `use gold` makes gold the schema of names
        without one. Tables and views that a statement mentions are first attached to the session;
        SHOW attaches all. Raises InputError for an invalid statement, or for one that does not only
        read; TableError for a missing table or view.
        """
        if not has_code(statement):
            raise InputError(NOTHING)
        statement = _without_backslash(statement)
        word = first_word(statement)
        if word == LIST_TABLES:
            return self._listing()
        if word == "USE":
            return self._use(statement)
        if word not in READING_WORDS:
            raise _only_reads(word)
        with self.errors_explained():
            self.attach(None if word == "SHOW" else self._mentioned(statement))
            if word in ("WITH", "FROM") or mentions_writing(statement):
                self._refuse_hidden_write(statement)
            try:
                return self.spark.sql(statement)
            except ParseException as error:
                raise self._other_dialect(statement, error) from None

    def attach(self, names: set[str] | None = None) -> list[str]:
        """Registers the tables and views of `names`, or all, in the session; returns their names.

        Does nothing if they are in a catalog.
        """
        if not self.lakehouse.folder:
            return []
        tables = [each for each in self.lakehouse.tables() if names is None or each in names]
        attached = [table for table in tables if self.lakehouse.exists(table)]
        return attached + create_views(self.lakehouse, self.config, names)

    def names(self) -> list[str]:
        """All tables and views that exist, sorted."""
        if self.lakehouse.folder:
            tables = list(self.lakehouse.tables())
            return sorted(tables + view_names(self.config, tables))
        listed = ((schema, f"{self.lakehouse.catalog}.{schema}") for schema in SCHEMAS)
        return sorted(
            f"{schema}.{table.name}"
            for schema, full_name in listed
            for table in self.spark.catalog.listTables(full_name)
        )

    @contextmanager
    def errors_explained(self) -> Iterator[None]:
        """Turns Spark's errors into one message; compute the rows of a result inside it, too."""
        try:
            yield
        except SPARK_ERRORS as error:
            raise self._explain(error) from None

    def _mentioned(self, statement: str) -> set[str]:
        """The names with a schema; and, after USE, the single names in that schema."""
        schema = self.spark.catalog.currentDatabase()
        single = {f"{schema}.{word}" for word in mentioned_words(statement)}
        return {*mentioned_names(statement), *(single if schema in SCHEMAS else ())}

    def _use(self, statement: str) -> DataFrame:
        match = _USE.fullmatch(statement)
        schema = match.group(1).lower() if match else ""
        if schema not in SCHEMAS:
            near = difflib.get_close_matches(schema, SCHEMAS, n=1)
            raise InputError(
                f"USE takes one of the schemas {', '.join(SCHEMAS)}, not "
                f"{' '.join(statement.split()[1:]) or 'nothing'}."
                + (f" Did you mean {near[0]}?" if near else "")
            )
        with self.errors_explained():
            if self.lakehouse.folder:
                self.spark.sql(f"CREATE SCHEMA IF NOT EXISTS {quote_identifier(schema)}")
            self.spark.catalog.setCurrentDatabase(schema)
            return self.spark.sql("SELECT current_schema() AS schema")

    def _other_dialect(self, statement: str, error: ParseException) -> InputError:
        hint = in_spark(statement, lambda sql: self._parses(f"EXPLAIN {sql}"))
        return InputError(f"{describe_error(error)}{'. ' + hint if hint else ''}")

    def _listing(self) -> DataFrame:
        self.attach()
        prefix = f"{self.lakehouse.catalog}." if self.lakehouse.catalog else ""
        tables = [(name, self.spark.catalog.getTable(prefix + name)) for name in self.names()]
        rows = ", ".join(
            f"({quote_text(name)}, {quote_text('view' if table.tableType == 'VIEW' else 'table')},"
            f" {quote_text(table.description or '')})"
            for name, table in tables
        )
        empty = "(CAST(NULL AS STRING), CAST(NULL AS STRING), CAST(NULL AS STRING))"
        return self.spark.sql(
            f"SELECT * FROM VALUES {rows or empty} AS listing(name, kind, comment)"
            " WHERE name IS NOT NULL"
        )

    def _refuse_hidden_write(self, statement: str) -> None:
        """Refuses a write after WITH or FROM: Spark cannot parse a write as a subquery."""
        try:
            self.spark.sql(f"EXPLAIN SELECT * FROM (\n{statement}\n)")
        except ParseException:
            # EXPLAIN runs nothing. It accepts a statement that writes, and refuses a syntax error.
            if self._parses(f"EXPLAIN {statement}"):
                raise _only_reads("a statement that writes") from None

    def _parses(self, statement: str) -> bool:
        try:
            self.spark.sql(statement)
        except AnalysisException as error:
            return not isinstance(error, ParseException)
        return True

    def _explain(self, error: Exception) -> MatchlakeError:
        if (
            isinstance(error, PySparkException)
            and error.getCondition() == "TABLE_OR_VIEW_NOT_FOUND"
        ):
            relation = (error.getMessageParameters() or {}).get("relationName", "")
            name = ".".join(relation.replace("`", "").lower().split(".")[-2:])
            return TableError(missing_table(name, self.names(), jobs_before(self.config, name)))
        return InputError(describe_error(error))


def interruptible(spark: SparkSession, work: Callable[[], T]) -> T:
    """The result of `work`; Ctrl-C cancels its Spark jobs.

    The work runs in a second thread. An interrupt within a call to the JVM would leave the
    answer unread, and the next call would then read this answer.
    """
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:  # noqa: BLE001 - the caller of result() gets it
            future.set_exception(error)

    Thread(target=run, daemon=True).start()
    try:
        return future.result()
    except KeyboardInterrupt:
        spark.interruptAll()
        raise


def _without_backslash(statement: str) -> str:
    """The SQL of backslash d, which lists tables; with a name, the columns of one."""
    typed = statement.strip().rstrip(";").split()
    if not typed[0].startswith("\\"):
        return statement
    if typed[0] not in ("\\d", "\\dt", "\\d+") or len(typed) > 2:  # noqa: PLR2004 - a word, a name
        raise InputError(
            f"{' '.join(typed)} is unknown: \\d lists tables and views, \\d NAME the columns of "
            "one table or view."
        )
    return f"DESCRIBE {typed[1]}" if len(typed) > 1 else LIST_TABLES


def _only_reads(word: str) -> InputError:
    near = difflib.get_close_matches(word, READING_WORDS, n=1, cutoff=0.75)
    hint = f" Did you mean {near[0]}?" if near and word not in READING_WORDS else ""
    return InputError(
        f"`matchlake sql` only reads: {word or 'this'} is not one of {', '.join(READING_WORDS)}, "
        f"USE.{hint} Tables are written by the jobs: `matchlake run --help`."
    )
