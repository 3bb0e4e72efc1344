"""Publishes gold tables to the online store, without the rows of erased users."""

import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.pandas.types import to_arrow_schema

from matchlake.config import JobConfig
from matchlake.errors import ConfigError, SchemaError, TableError
from matchlake.io.delta import Lakehouse
from matchlake.io.secrets import SecretStore
from matchlake.lakehouse.erasure import USER_COLUMNS
from matchlake.lakehouse.table_registry import declared_tables
from matchlake.schemas import quote_identifier
from matchlake.serve.online.params import OnlineTableParams
from matchlake.serve.online.postgres_types import KEY_TYPES
from matchlake.serve.online.stores import OnlineStore, online_stores
from matchlake.serve.online.tables import OnlineColumn, Published

_log = logging.getLogger(__name__)

_NESTED = ("array<", "map<", "struct<")
_PART = "part"


@dataclass(frozen=True)
class SparkRows:
    """The rows of a Spark frame, batch by batch: the driver holds one partition at a time."""

    frame: DataFrame
    keys: tuple[str, ...]

    @property
    def columns(self) -> list[OnlineColumn]:
        """The columns with their types in Spark."""
        return [
            OnlineColumn(each.name, each.dataType.simpleString(), each.nullable)
            for each in self.frame.schema
        ]

    def sorted_batches(self) -> Iterator[pa.RecordBatch]:
        """The rows in Arrow's types, sorted by the key; texts are sorted by their bytes."""
        return _batches(self.frame.orderBy(*map(quote_identifier, self.keys)))

    def text_batches(self) -> Iterator[pa.RecordBatch]:
        """The rows for a copy as text: decimals, binary and nested values are texts."""
        return _batches(self.frame.selectExpr(*map(_as_text, self.columns)))


def _as_text(column: OnlineColumn) -> str:
    """SQL of a column as CSV can hold it."""
    name = quote_identifier(column.name)
    if column.type.startswith(_NESTED):
        return f"to_json({name}, map('ignoreNullFields', 'false')) AS {name}"
    if column.type == "binary":
        return f"concat('\\\\x', lower(hex({name}))) AS {name}"
    if column.type.startswith("decimal"):
        return f"CAST({name} AS STRING) AS {name}"
    return name


def _batches(frame: DataFrame) -> Iterator[pa.RecordBatch]:
    """The rows of a frame in its order; the first batch has no row, but the schema."""

    def packed(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            sink = pa.BufferOutputStream()
            with pa.ipc.new_stream(sink, batch.schema) as writer:
                writer.write_batch(batch)
            yield pa.RecordBatch.from_arrays([pa.array([sink.getvalue().to_pybytes()])], [_PART])

    schema = to_arrow_schema(frame.schema, timezone="UTC")
    yield pa.RecordBatch.from_arrays([pa.array([], each.type) for each in schema], schema=schema)
    for row in frame.mapInArrow(packed, f"{_PART} binary").toLocalIterator():
        for batch in pa.ipc.open_stream(row[_PART]):
            yield pa.RecordBatch.from_arrays(batch.columns, schema=schema)


@dataclass(frozen=True)
class OnlinePublish:
    """Publishes the tables that conf names."""

    config: JobConfig
    lakehouse: Lakehouse
    secrets: SecretStore

    def stores(self) -> list[OnlineStore]:
        """The stores that this job fills; none if conf has no section `online`.

        Raises ConfigError for tables without a store, and for a store without tables.
        """
        online = self.config.online
        if not online.stores and not online.tables:
            _log.info("nothing to publish: conf names no store (online.stores) and no table")
        elif not online.stores or not online.tables:
            missing = "tables" if online.stores else "stores"
            raise ConfigError(
                f"There is nothing to publish: conf needs online.{missing} too; see "
                "lib/matchlake/serve/online/README.md."
            )
        return list(online_stores(online, self.secrets))

    def publish(self, name: str, store: OnlineStore) -> int:
        """Publishes one table to one store; returns the number of rows.

        The users that were erased are read under the lock of the table. An erasure takes the same
        lock, so no user comes back. Raises MatchlakeError; the store then keeps its rows.
        """
        params = self.config.online.tables[name]
        began = time.monotonic()
        with store.locked(name) as writer:
            version = self._version(params.table)
            frame = self._rows(params, version)
            now = datetime.now(UTC).isoformat(timespec="seconds")
            published = Published(params.table, version, now, params.keys)
            rows = SparkRows(frame, params.keys)
            count = writer.publish(name, rows, published, allow_empty=params.allow_empty)
        _log.info(
            "%s in %s (%s): %d rows of %s version %d, in %.1f s",
            *(name, store.kind, store, count, params.table, version, time.monotonic() - began),
        )
        return count

    def _version(self, table: str) -> int:
        if any(view.name == table for view in self.lakehouse.views):
            raise TableError(f"{table} is a view: name a table in online.tables.")
        return self.lakehouse.version(table)

    def _rows(self, params: OnlineTableParams, version: int) -> DataFrame:
        frame = self.lakehouse.read(params.table, version)
        names = [*params.keys, *(params.columns or ())]
        missing = [name for name in names if name not in frame.columns]
        if missing:
            raise SchemaError.missing(params.table, missing, frame.columns)
        _check_keys(frame, params)
        erased = self.lakehouse.erased_users()
        persons = [
            each for each in published_user_columns(self.config, params) if each in frame.columns
        ]
        if erased and persons:
            frame = erased.removed_from(frame, persons)
        if params.columns is None:
            names += [name for name in frame.columns if name not in params.keys]
        return frame.select(*(F.col(quote_identifier(name)) for name in names))


def _check_keys(frame: DataFrame, params: OnlineTableParams) -> None:
    kinds = {each.name: each.dataType.simpleString() for each in frame.schema}
    for key in params.keys:
        if kinds[key] not in KEY_TYPES:
            raise SchemaError(
                f"{params.table}: {key} is a {kinds[key]}, which cannot be a key of the online "
                f"store. Possible: {', '.join(KEY_TYPES)}."
            )


def published_user_columns(config: JobConfig, params: OnlineTableParams) -> tuple[str, ...]:
    """The columns with ids of users of a published table."""
    spec = declared_tables(config).get(params.table)
    return spec.user_columns if spec else USER_COLUMNS
