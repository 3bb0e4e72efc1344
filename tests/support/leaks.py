"""Looks for planted values in every file below folders, whatever form and container they are in.

A value is looked for as it is and in the forms a program may write it: base64 at each of its three
places, URL-encoded, JSON-escaped. Containers are opened: gzip and zstd (also one stream after the
other), zip, Parquet (each column's values, statistics and key-value metadata), sqlite (each cell).
"""

import gzip
import io
import sqlite3
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from matchlake.io.secrets.masking import written_forms

_SEPARATOR = "\n"
_DEEPEST = 4


@dataclass
class Scan:
    """What was looked at, and where which planted value was found."""

    files: int = 0
    size: int = 0
    opened: dict[str, int] = field(default_factory=dict)
    found: dict[str, set[str]] = field(default_factory=dict)

    def closing_line(self, planted: Mapping[str, str]) -> str:
        """The scan in one line."""
        containers = ", ".join(f"{count} {kind}" for kind, count in sorted(self.opened.items()))
        return (
            f"leak scan: {self.files} files, {self.size:,} bytes ({containers} opened), "
            f"{len(planted)} planted values, {sum(map(len, self.found.values()))} found"
        )


def scan(folders: Iterable[Path], planted: Mapping[str, str], skip: Iterable[Path] = ()) -> Scan:
    """Searches all files below `folders`, but those in `skip`, for the values of `planted`."""
    result = Scan()
    needles = [
        (name, form.encode()) for name, value in planted.items() for form in written_forms(value)
    ]
    left_out = {path.resolve() for path in skip}
    for path in sorted({path for folder in folders for path in folder.rglob("*")}):
        if path.is_symlink() or not path.is_file() or path.resolve() in left_out:
            continue
        raw = path.read_bytes()
        result.files += 1
        result.size += len(raw)
        for text in _layers(raw, result, _DEEPEST):
            for name, needle in needles:
                if needle in text:
                    result.found.setdefault(name, set()).add(str(path))
    return result


def _layers(raw: bytes, result: Scan, depth: int) -> Iterator[bytes]:
    """The bytes themselves, and those of what they contain."""
    yield raw
    if not depth:
        return
    for kind, matches, opened in _CONTAINERS:
        if matches(raw):
            for inner in opened(raw):
                result.opened[kind] = result.opened.get(kind, 0) + 1
                yield from _layers(inner, result, depth - 1)


def _gzip(raw: bytes) -> Iterator[bytes]:
    with suppress(OSError, EOFError, zlib.error):
        yield gzip.decompress(raw)


def _zstd(raw: bytes) -> Iterator[bytes]:
    # An event log is many frames, one after the other, and its last may be cut off.
    text = io.BytesIO()
    with (
        suppress(OSError, pa.ArrowInvalid),
        pa.CompressedInputStream(pa.BufferReader(raw), "zstd") as stream,
    ):
        while part := stream.read(2**20):
            text.write(part)
    yield text.getvalue()


def _zip(raw: bytes) -> Iterator[bytes]:
    with suppress(zipfile.BadZipFile), zipfile.ZipFile(io.BytesIO(raw)) as archive:
        for name in archive.namelist():
            yield archive.read(name)


def _parquet(raw: bytes) -> Iterator[bytes]:
    with suppress(pa.ArrowInvalid, OSError):
        file = pq.ParquetFile(pa.BufferReader(raw))
        metadata = file.metadata.metadata or {}
        yield _SEPARATOR.encode().join([*metadata, *metadata.values()])
        for batch in file.iter_batches():
            yield from map(_cells, batch.columns)


def _cells(column: pa.Array) -> bytes:
    """A column's values one after the other; texts and bytes as they are, all else as written."""
    parts = []
    for value in column.to_pylist():
        parts.append(value if isinstance(value, bytes) else _written(value))
    return _SEPARATOR.encode().join(parts)


def _written(value: object) -> bytes:
    if isinstance(value, Mapping):
        return _SEPARATOR.encode().join(_written(each) for pair in value.items() for each in pair)
    if isinstance(value, list | tuple):
        return _SEPARATOR.encode().join(map(_written, value))
    return value if isinstance(value, bytes) else str(value).encode(errors="replace")


def _sqlite(raw: bytes) -> Iterator[bytes]:
    with suppress(sqlite3.DatabaseError), closing(sqlite3.connect(":memory:")) as database:
        database.deserialize(raw)
        tables = database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        for (table,) in tables:
            quoted = table.replace('"', '""')
            for row in database.execute(f'SELECT * FROM "{quoted}"'):
                yield _written(row)


_CONTAINERS = (
    ("gzip", lambda raw: raw[:2] == b"\x1f\x8b", _gzip),
    ("zstd", lambda raw: raw[:4] == b"\x28\xb5\x2f\xfd", _zstd),
    ("zip", lambda raw: raw[:4] == b"PK\x03\x04", _zip),
    ("parquet", lambda raw: raw[:4] == b"PAR1" and raw[-4:] == b"PAR1", _parquet),
    ("sqlite rows", lambda raw: raw[:16] == b"SQLite format 3\x00", _sqlite),
)
