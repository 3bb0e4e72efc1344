"""Shared code of the stores: the source of a published table, its columns, and key checks."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple, Protocol

import pyarrow as pa

from matchlake.errors import InputError, TableError

Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Published:
    """The source of a published table; every store saves it with the rows."""

    table: str
    """The table of the lakehouse, `schema.table`."""
    delta_version: int
    """Its Delta version."""
    published_at: str
    """When the job read it, in UTC: 2024-05-01T10:00:00+00:00."""
    keys: tuple[str, ...]
    """The columns that identify a row."""

    def to_json(self) -> str:
        """The fields as one line of JSON."""
        return json.dumps(asdict(self))

    @staticmethod
    def from_json(text: str | bytes | None, name: str) -> "Published":
        """Reads the JSON of `to_json`; raises TableError for any other string."""
        try:
            data = json.loads(text or "")
            return Published(**{**data, "keys": tuple(data["keys"])})
        except (ValueError, TypeError, KeyError):
            raise TableError(
                f"{name} has no valid source entry: publish_online did not write it, or it was "
                "changed since. Publish it again."
            ) from None


class OnlineColumn(NamedTuple):
    """A column of a published table."""

    name: str
    type: str
    """The type in Spark's SQL."""
    nullable: bool = True


class TableRows(Protocol):
    """The rows of one table that a job publishes."""

    @property
    def columns(self) -> Sequence[OnlineColumn]:
        """The columns with their types in Spark."""

    def sorted_batches(self) -> Iterator[pa.RecordBatch]:
        """Yields the rows in Arrow's types, sorted by the key.

        Strings are sorted by their bytes.
        """

    def text_batches(self) -> Iterator[pa.RecordBatch]:
        """Yields the rows for COPY: decimals, binary and nested values are strings."""


class OnlineTable(Protocol):
    """Looks up rows of one published table by key."""

    def rows(self, *key: Any) -> Rows:
        """Returns the rows whose first key columns have these values, in the order of the key.

        Raises InputError if there are more values than key columns, or a value has another type.
        """

    @property
    def published(self) -> Published:
        """Returns the source of the current rows."""


def check_key(key: Sequence[Any], keys: Sequence[str]) -> None:
    """Raises InputError unless `key` has values of the first key columns, without null."""
    if not 1 <= len(key) <= len(keys):
        raise InputError(
            f"A lookup needs 1 to {len(keys)} value(s) of {', '.join(keys)}, not {len(key)}."
        )
    if any(value is None for value in key):
        raise InputError(f"A lookup does not accept null for {', '.join(keys)}.")


def refuse_rows(table: str, keys: Sequence[str], nulls: int, duplicates: int) -> None:
    """Raises InputError, with the number of rows, if keys are null or duplicate."""
    if nulls or duplicates:
        raise InputError(
            f"{table} is not published: {nulls} row(s) have a null in the key {', '.join(keys)}, "
            f"and {duplicates} row(s) repeat the key of another row. The store keeps its old "
            "rows. Correct the table, or choose other `keys`."
        )


def refuse_empty(table: str) -> None:
    """Raises InputError, because the table is empty."""
    raise InputError(
        f"{table} is not published: it is empty. The store keeps its old rows. If an empty table "
        "is intended, set `allow_empty` of this table in conf (online.tables)."
    )
