"""Opens containers in bytes: gzip, zstd, zip, Parquet and SQLite, also within each other."""

import io
import sqlite3
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.parquet as pq

_SEPARATOR = b"\n"
_GZIP = b"\x1f\x8b"
_DEEPEST = 4
_LARGEST = 2**30
"""The largest decompressed size of a gzip or zstd stream; the rest counts as not read."""


@dataclass
class Opened:
    """The containers that were opened."""

    counts: dict[str, int] = field(default_factory=dict)
    """The number of opened containers per kind."""
    is_whole: bool = True
    """False if a container could not be read to its end."""


def layers(raw: bytes, opened: Opened, depth: int = _DEEPEST) -> Iterator[bytes]:
    """The bytes themselves, then those of the containers in them, at most `depth` levels deep."""
    yield raw
    if not depth:
        return
    for kind, matches, contents in _CONTAINERS:
        if matches(raw):
            try:
                for inner in contents(raw):
                    opened.counts[kind] = opened.counts.get(kind, 0) + 1
                    yield from layers(inner, opened, depth - 1)
            except _BROKEN:
                opened.is_whole = False


def _gzip(raw: bytes) -> Iterator[bytes]:
    """All members, also if the file is cut off within a member."""
    text, left = b"", raw
    try:
        while left[:2] == _GZIP:
            member = zlib.decompressobj(zlib.MAX_WBITS | 16)
            text += member.decompress(left, _LARGEST - len(text) or 1)
            if not member.eof:
                raise EOFError
            left = member.unused_data
    finally:
        yield text


def _zstd(raw: bytes) -> Iterator[bytes]:
    # An event log is many frames, one after the other, and its last may be cut off.
    text = io.BytesIO()
    try:
        with pa.CompressedInputStream(pa.BufferReader(raw), "zstd") as stream:
            while part := stream.read(2**20):
                text.write(part)
                if text.tell() > _LARGEST:
                    raise EOFError
    finally:
        yield text.getvalue()


def _zip(raw: bytes) -> Iterator[bytes]:
    with zipfile.ZipFile(io.BytesIO(raw)) as archive:
        for name in archive.namelist():
            yield archive.read(name)


def _parquet(raw: bytes) -> Iterator[bytes]:
    file = pq.ParquetFile(pa.BufferReader(raw))
    metadata = file.metadata.metadata or {}
    yield _SEPARATOR.join([*metadata, *metadata.values()])
    for batch in file.iter_batches():
        for column in batch.columns:
            yield from _cells(column.to_pylist())


def _cells(values: Iterable[object]) -> Iterator[bytes]:
    """Yields all values as written, one after the other, then each value that is a container."""
    written = [each for value in values for each in _written(value)]
    yield _SEPARATOR.join(written)
    yield from (each for each in written if any(matches(each) for _, matches, _ in _CONTAINERS))


def _written(value: object) -> Iterator[bytes]:
    """Texts and bytes as they are, also those in lists and structs; all else as it prints."""
    if isinstance(value, Mapping):
        yield from (each for pair in value.items() for inner in pair for each in _written(inner))
    elif isinstance(value, list | tuple):
        yield from (each for inner in value for each in _written(inner))
    else:
        yield value if isinstance(value, bytes) else str(value).encode(errors="replace")


def _sqlite(raw: bytes) -> Iterator[bytes]:
    with closing(sqlite3.connect(":memory:")) as database:
        # Opens a copy in memory: it has no log file beside it. Text need not be UTF-8.
        database.deserialize(raw[:18] + b"\1\1" + raw[20:])
        database.text_factory = bytes
        tables = database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        for (table,) in tables:
            quoted = table.decode().replace('"', '""')
            for row in database.execute(f'SELECT * FROM "{quoted}"'):
                yield from _cells(row)


_BROKEN: tuple[type[Exception], ...] = (
    *(OSError, EOFError, zlib.error, zipfile.BadZipFile, pa.ArrowException),
    *(sqlite3.DatabaseError, UnicodeDecodeError),
)
_Container = tuple[str, Callable[[bytes], bool], Callable[[bytes], Iterator[bytes]]]
_CONTAINERS: tuple[_Container, ...] = (
    ("gzip", lambda raw: raw[:2] == _GZIP, _gzip),
    ("zstd", lambda raw: raw[:4] == b"\x28\xb5\x2f\xfd", _zstd),
    ("zip", lambda raw: raw[:4] == b"PK\x03\x04", _zip),
    ("parquet", lambda raw: raw[:4] == b"PAR1" and raw[-4:] == b"PAR1", _parquet),
    ("sqlite rows", lambda raw: raw[:16] == b"SQLite format 3\x00", _sqlite),
)
