"""What both stores share: the version of a published table, its columns, and checks of a key."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple, Protocol

import pyarrow as pa

from matchlake.errors import InputError, TableError

Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Published:
    """Where the rows of a published table come from; every store keeps it beside the rows."""

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
        """The fields that `to_json` wrote; raises TableError for any other text."""
        try:
            data = json.loads(text or "")
            return Published(**{**data, "keys": tuple(data["keys"])})
        except (ValueError, TypeError, KeyError):
            raise TableError(
                f"{name} does not say which table it holds: it was not written by publish_online, "
                "or it was changed since. Publish it again."
            ) from None


class OnlineColumn(NamedTuple):
    """A column of a published table."""

    name: str
    type: str
    """Its type in Spark's SQL."""
    nullable: bool = True


class TableRows(Protocol):
    """The rows of one table that a job publishes."""

    @property
    def columns(self) -> Sequence[OnlineColumn]:
        """The columns with their types in Spark."""

    def sorted_batches(self) -> Iterator[pa.RecordBatch]:
        """The rows in Arrow's types, sorted by the key; texts are sorted by their bytes."""

    def text_batches(self) -> Iterator[pa.RecordBatch]:
        """The rows for a copy as text: decimals, binary and nested values are texts."""


class OnlineTable(Protocol):
    """Reads one published table by key."""

    def rows(self, *key: Any) -> Rows:
        """The rows whose first key columns have these values, in the order of the key.

        Raises InputError for more values than key columns, and for a value of another type.
        """

    @property
    def published(self) -> Published:
        """Where the current rows come from."""


def check_key(key: Sequence[Any], keys: Sequence[str]) -> None:
    """Raises InputError unless `key` has one to all values of a key, and no null."""
    if not 1 <= len(key) <= len(keys):
        raise InputError(
            f"A lookup takes 1 to {len(keys)} value(s) of {', '.join(keys)}, not {len(key)}."
        )
    if any(value is None for value in key):
        raise InputError(f"A lookup takes no null as a value of {', '.join(keys)}.")


def refuse_rows(table: str, keys: Sequence[str], nulls: int, duplicates: int) -> None:
    """Raises InputError, with the numbers, if keys are null or not unique."""
    if nulls or duplicates:
        raise InputError(
            f"{table} is not published: {nulls} row(s) have a null in the key {', '.join(keys)}, "
            f"and {duplicates} row(s) repeat the key of another row. The store keeps the rows that "
            "it has. Correct the table, or name other `keys`."
        )


def refuse_empty(table: str) -> None:
    """Raises InputError: the table has no row."""
    raise InputError(
        f"{table} is not published: it has no row. The store keeps the rows that it has. If that "
        "is intended, set `allow_empty` of this table in conf (online.tables)."
    )
