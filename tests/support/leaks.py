"""Looks for planted values in every file below folders, whatever form and container they are in.

A value is looked for as it is and in the forms a program may write it: base64 at each of its three
places, URL-encoded, JSON-escaped, also JSON within JSON; in files, and in their names. Containers
are opened, those in others too: gzip and zstd (also one stream after the other, also cut off), zip,
Parquet (each column's values, statistics and key-value metadata), sqlite (each cell). One that
cannot be read to its end is told of: nothing was found there because nobody could look.
"""

import io
import json
import sqlite3
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from matchlake.io.secrets.masking import written_forms

_SEPARATOR = b"\n"
_GZIP = b"\x1f\x8b"
_DEEPEST = 4


@dataclass
class Scan:
    """What was looked at, and where which planted value was found."""

    files: int = 0
    size: int = 0
    opened: dict[str, int] = field(default_factory=dict)
    found: dict[str, set[str]] = field(default_factory=dict)
    unread: set[str] = field(default_factory=set)
    """Files with a container that could not be read to its end."""

    def closing_line(self, planted: Mapping[str, str]) -> str:
        """The scan in one line."""
        opened = [f"{count} {kind}" for kind, count in sorted(self.opened.items())]
        found = sum(len(self.found.get(name, ())) for name in planted)
        return (
            f"leak scan: {self.files} files, {self.size:,} bytes "
            f"({', '.join(opened) or 'no container'} opened, {len(self.unread)} not to their end), "
            f"{len(planted)} planted values, {found} found"
        )


def scan(folders: Iterable[Path], planted: Mapping[str, str], skip: Iterable[Path] = ()) -> Scan:
    """Searches all files below `folders`, but those in `skip`, for the values of `planted`."""
    result = Scan()
    needles = [(name, form.encode()) for name in planted for form in _forms(planted[name])]
    left_out = {path.resolve() for path in skip}
    for path in sorted({path for folder in folders for path in folder.rglob("*")}):
        if path.is_symlink() or not path.is_file() or path.resolve() in left_out:
            continue
        raw = path.read_bytes()
        result.files += 1
        result.size += len(raw)
        for text in (str(path).encode(), *_layers(raw, result, str(path), _DEEPEST)):
            for name, needle in needles:
                if needle in text:
                    result.found.setdefault(name, set()).add(str(path))
    return result


def _forms(value: str) -> set[str]:
    """How a value may be written; JSON in JSON escapes its escapes."""
    return {*written_forms(value), json.dumps(json.dumps(value)[1:-1])[1:-1]}


def _layers(raw: bytes, result: Scan, path: str, depth: int) -> Iterator[bytes]:
    """The bytes themselves, and those of what they contain."""
    yield raw
    if not depth:
        return
    for kind, matches, opened in _CONTAINERS:
        if matches(raw):
            try:
                for inner in opened(raw):
                    result.opened[kind] = result.opened.get(kind, 0) + 1
                    yield from _layers(inner, result, path, depth - 1)
            except _BROKEN:
                result.unread.add(path)


def _gzip(raw: bytes) -> Iterator[bytes]:
    """All members, also of a file that is cut off in one."""
    text, left = b"", raw
    try:
        while left[:2] == _GZIP:
            member = zlib.decompressobj(zlib.MAX_WBITS | 16)
            text += member.decompress(left)
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
    """Values one after the other as they are written, and each that is a container itself."""
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
        # A copy in memory has no file for a log beside it, nor has every text to be UTF-8.
        database.deserialize(raw[:18] + b"\1\1" + raw[20:])
        database.text_factory = bytes
        tables = database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        for (table,) in tables:
            quoted = table.decode().replace('"', '""')
            for row in database.execute(f'SELECT * FROM "{quoted}"'):
                yield from _cells(row)


_BROKEN = (OSError, EOFError, zlib.error, zipfile.BadZipFile, pa.ArrowException)
_BROKEN = (*_BROKEN, sqlite3.DatabaseError, UnicodeDecodeError)
_Container = tuple[str, Callable[[bytes], bool], Callable[[bytes], Iterator[bytes]]]
_CONTAINERS: tuple[_Container, ...] = (
    ("gzip", lambda raw: raw[:2] == _GZIP, _gzip),
    ("zstd", lambda raw: raw[:4] == b"\x28\xb5\x2f\xfd", _zstd),
    ("zip", lambda raw: raw[:4] == b"PK\x03\x04", _zip),
    ("parquet", lambda raw: raw[:4] == b"PAR1" and raw[-4:] == b"PAR1", _parquet),
    ("sqlite rows", lambda raw: raw[:16] == b"SQLite format 3\x00", _sqlite),
)
