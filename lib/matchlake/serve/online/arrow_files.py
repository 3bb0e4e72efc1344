"""Published tables as Arrow files: a job writes them, and readers look up keys without a copy.

A file is an Arrow IPC file whose rows are sorted by the key. A reader maps the file into memory and
finds a key by binary search. A new file replaces the old file by one rename.
"""

import fcntl
import os
import time
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from matchlake.errors import InputError, SourceError, TableError
from matchlake.serve.online.tables import (
    Published,
    Rows,
    TableRows,
    check_key,
    refuse_empty,
    refuse_rows,
)

_ABOUT = b"matchlake"
_LOOK_SECONDS = 1.0
Filter = Callable[[pa.RecordBatch], pa.RecordBatch]


@dataclass(frozen=True)
class ArrowStore:
    """The published tables of a folder, one file each."""

    folder: Path

    kind = "arrow"

    def path(self, name: str) -> Path:
        """The file of a table."""
        return self.folder / f"{name}.arrow"

    def __str__(self) -> str:
        return str(self.folder)

    @contextmanager
    def locked(self, name: str) -> Iterator["ArrowStore"]:
        """Locks the table against other runs; raises TableError if another run has the lock."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / f"{name}.lock").open("wb") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise TableError(
                    f"Another run is writing {self.path(name)}. Wait until it has ended."
                ) from None
            for leftover in self.folder.glob(f"{name}.arrow.*.new"):
                leftover.unlink()
            yield self

    def publish(
        self, name: str, rows: TableRows, published: Published, *, allow_empty: bool = False
    ) -> int:
        """Writes the rows to a new file, which replaces the old one; returns their number.

        Call it within `locked`. Raises InputError for null or duplicate keys, and for an empty
        table; the old file then stays.
        """
        count = 0

        def checked(file: Path) -> None:
            nonlocal count
            count, nulls, duplicates = _write(file, rows.sorted_batches(), published)
            refuse_rows(published.table, published.keys, nulls, duplicates)
            if not count and not allow_empty:
                refuse_empty(published.table)

        self._replace(name, checked)
        return count

    def erase(self, name: str, columns: Iterable[str], user: str) -> int:
        """Removes the rows of a user from the file.

        Returns their number. Call it within `locked`.
        """
        if not self.path(name).exists():
            return 0
        table = ArrowTable(self.path(name))
        erased = self.count(name, columns, user)
        if erased:
            kept = map(_without(columns, user), table)
            self._replace(name, lambda file: _write(file, kept, table.published, table.schema))
        return erased

    def count(self, name: str, columns: Iterable[str], user: str) -> int:
        """Returns the number of rows of a user in the file."""
        if not self.path(name).exists():
            return 0
        table, kept = ArrowTable(self.path(name)), _without(columns, user)
        return sum(int(batch.num_rows) - int(kept(batch).num_rows) for batch in table)

    def open(self, name: str) -> "ArrowTable":
        """Opens the table for lookups by key."""
        return ArrowTable(self.path(name))

    def _replace(self, name: str, write: Callable[[Path], Any]) -> None:
        path = self.path(name)
        new = path.with_name(f"{path.name}.{os.getpid()}.new")
        try:
            write(new)
            _sync(new)
            new.replace(path)
            _sync(path.parent)
        finally:
            new.unlink(missing_ok=True)


def _write(
    file: Path,
    batches: Iterable[pa.RecordBatch],
    published: Published,
    schema: pa.Schema | None = None,
) -> tuple[int, int, int]:
    """Writes sorted rows; returns their number, those with a null key, and repeated keys."""
    count = nulls = duplicates = 0
    last: pa.RecordBatch | None = None
    writer = None
    with pa.OSFile(str(file), "wb") as out:
        try:
            for batch in batches:
                if writer is None:
                    about = {_ABOUT: published.to_json()}
                    schema = batch.schema.with_metadata(about)
                    writer = pa.ipc.new_file(out, schema)
                writer.write_batch(batch)
                count += batch.num_rows
                own = batch.select(list(published.keys))
                nulls += _null_keys(own)
                duplicates += _repeated(own if last is None else _joined(last, own))
                last = own.slice(own.num_rows - 1) if own.num_rows else last
            if writer is None and schema is not None:
                writer = pa.ipc.new_file(out, schema)
        finally:
            if writer is not None:
                writer.close()
    return count, nulls, duplicates


def _null_keys(keys: pa.RecordBatch) -> int:
    """Returns the number of rows with a null in the key."""
    missing = [pc.is_null(column) for column in keys.columns]
    found = missing[0]
    for each in missing[1:]:
        found = pc.or_(found, each)
    return int(pc.sum(found).as_py() or 0)


def _joined(last: pa.RecordBatch, keys: pa.RecordBatch) -> pa.RecordBatch:
    return pa.Table.from_batches([last, keys]).combine_chunks().to_batches()[0]


def _repeated(keys: pa.RecordBatch) -> int:
    """Returns the number of rows with the same key as the row before."""
    if keys.num_rows <= 1:
        return 0
    same = None
    for column in keys.columns:
        equal = pc.equal(column.slice(1), column.slice(0, len(column) - 1))
        same = equal if same is None else pc.and_(same, equal)
    return int(pc.sum(same).as_py() or 0)


def _without(columns: Iterable[str], user: str) -> Filter:
    """Returns a function that removes the rows of a user from a batch."""
    names = tuple(columns)

    def kept(batch: pa.RecordBatch) -> pa.RecordBatch:
        mine = pa.array([False] * batch.num_rows)
        for name in set(names) & set(batch.schema.names):
            is_user = pc.equal(batch.column(name).cast(pa.string()), user)
            mine = pc.or_(mine, pc.fill_null(is_user, fill_value=False))
        return batch.filter(pc.invert(mine))

    return kept


def _sync(path: Path) -> None:
    """Syncs a file, or a folder's entries, to disk."""
    at = os.open(path, os.O_RDONLY)
    try:
        with suppress(OSError):  # some network file systems have no fsync of a folder
            os.fsync(at)
    finally:
        os.close(at)


class ArrowTable:
    """Looks up keys in a file of `ArrowStore`; reopens the file if it was replaced.

    It needs only pyarrow. It checks for a new file at most once per second. It is thread-safe: each
    lookup reads one version of the file.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        self._file = _MappedFile(self._path)
        self._look_at = time.monotonic() + _LOOK_SECONDS

    @property
    def published(self) -> Published:
        """Returns the source of the current rows."""
        return self._current().published

    @property
    def schema(self) -> pa.Schema:
        """The columns of the current file."""
        return self._current().schema

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        """Iterates over the rows, in the order of the key."""
        return iter(self._current().batches)

    def __len__(self) -> int:
        return self._current().ends[-1]

    def rows(self, *key: Any) -> Rows:
        """Returns the rows whose first key columns have these values, in the order of the key."""
        return self._current().rows(key)

    def refresh(self) -> None:
        """Reopens the file if it was replaced; raises as the constructor does."""
        if _identity(self._path) != self._file.identity:
            self._file = _MappedFile(self._path)

    def _current(self) -> "_MappedFile":
        if time.monotonic() >= self._look_at:
            self._look_at = time.monotonic() + _LOOK_SECONDS
            with suppress(SourceError):  # the mapped rows stay readable after the file is deleted
                self.refresh()
        return self._file


def _identity(path: Path) -> tuple[int, int, int]:
    try:
        found = path.stat()
    except OSError as error:
        raise SourceError(
            f"{path} cannot be read: {error.strerror}. Run publish_online to write it."
        ) from None
    return found.st_ino, found.st_mtime_ns, found.st_size


class _MappedFile:
    """One version of a file."""

    def __init__(self, path: Path) -> None:
        self.identity = _identity(path)
        try:
            reader = pa.ipc.open_file(pa.memory_map(str(path)))
            self.batches = [reader.get_batch(i) for i in range(reader.num_record_batches)]
        except (pa.ArrowInvalid, OSError) as error:
            first = str(error).splitlines()[0]
            raise TableError(
                f"{path} is not a complete Arrow file ({first}). Publish it again."
            ) from None
        self.schema = reader.schema
        self.published = Published.from_json((self.schema.metadata or {}).get(_ABOUT), str(path))
        self.batches = [batch for batch in self.batches if batch.num_rows]
        self.ends = [0]
        for batch in self.batches:
            self.ends.append(self.ends[-1] + batch.num_rows)
        self._keys = [[batch.column(key) for key in self.published.keys] for batch in self.batches]

    def rows(self, key: tuple[Any, ...]) -> Rows:
        check_key(key, self.published.keys)
        width = len(key)

        def at(row: int) -> tuple[Any, ...]:
            number = bisect_right(self.ends, row) - 1
            place = row - self.ends[number]
            return tuple(column[place].as_py() for column in self._keys[number][:width])

        try:
            first = bisect_left(range(self.ends[-1]), key, key=at)
            end = bisect_right(range(self.ends[-1]), key, lo=first, key=at)
        except TypeError:
            kinds = [str(self.schema.field(name).type) for name in self.published.keys[:width]]
            given = [type(each).__name__ for each in key]
            raise InputError(f"The key takes {', '.join(kinds)}, not {', '.join(given)}.") from None
        return list(self._between(first, end))

    def _between(self, first: int, end: int) -> Iterator[dict[str, Any]]:
        while first < end:
            number = bisect_right(self.ends, first) - 1
            until = min(end, self.ends[number + 1])
            part = self.batches[number].slice(first - self.ends[number], until - first)
            yield from part.to_pylist()
            first = until
