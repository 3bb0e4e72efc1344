"""Keeps a long-lived session's catalog in step with the lakehouse's folder."""

import logging

from matchlake.cli.launch import SPARK_ERRORS
from matchlake.config import JobConfig
from matchlake.io.delta import Lakehouse
from matchlake.lakehouse.views import SCHEMAS, create_views
from matchlake.schemas import quote_identifier

_log = logging.getLogger(__name__)


class Refresher:
    """Attaches tables that appear, drops those that are gone, and renews the views on them."""

    def __init__(self, lakehouse: Lakehouse, config: JobConfig) -> None:
        self._lakehouse = lakehouse
        self._config = config
        self._tables: frozenset[str] | None = None
        self._views: frozenset[str] = frozenset()

    def refresh(self) -> list[str]:
        """Checks once. Returns the names of the tables and views that exist now.

        A failure is logged, and the next check tries again: a job may be in the middle of
        creating a table.
        """
        tables = frozenset(self._lakehouse.tables())
        if tables != self._tables:
            try:
                self._follow(tables)
            except SPARK_ERRORS as error:
                _log.warning("tables were not refreshed: %s", str(error).partition("\n")[0])
        return sorted({*(self._tables or ()), *self._views})

    def _follow(self, found: frozenset[str]) -> None:
        spark = self._lakehouse.spark
        for gone in (self._tables or frozenset()) - found:
            # This removes only the session's entry, never the table's files.
            spark.sql(f"DROP TABLE IF EXISTS {self._lakehouse.name(gone)}")
        for schema in SCHEMAS:
            spark.sql(f"CREATE SCHEMA IF NOT EXISTS {quote_identifier(schema)}")
        self._lakehouse.register_tables()
        views = frozenset(create_views(self._lakehouse, self._config))
        for gone in self._views - views:
            spark.sql(f"DROP VIEW IF EXISTS {self._lakehouse.name(gone)}")
        self._tables, self._views = found, views
