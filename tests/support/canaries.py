"""A value planted in each form and container in which a leak may hide: a scan has to find it."""

import base64
import gzip
import io
import json
import sqlite3
import zipfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import quote

import pyarrow as pa
import pyarrow.parquet as pq

CANARY = "canary/+\"'\n-välue"
FORMS = {
    "plain": CANARY.encode(),
    "json": json.dumps({"a": CANARY}).encode(),
    "json unicode": json.dumps({"a": CANARY}, ensure_ascii=False).encode(),
    "json in json": json.dumps({"a": json.dumps({"b": CANARY})}).encode(),
    "url": quote(CANARY, safe="").encode(),
    **{
        f"base64 after {before}": base64.b64encode(b"x" * before + CANARY.encode() + b"tail")
        for before in range(3)
    },
}


def _zstd(*parts: bytes) -> bytes:
    return b"".join(pa.Codec("zstd").compress(part).to_pybytes() for part in parts)


def _zip(value: bytes) -> bytes:
    with zipfile.ZipFile(made := io.BytesIO(), "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/b", value)
    return made.getvalue()


def _parquet(value: bytes, compression: str) -> bytes:
    rows = [b"before", value, b"after"] * 50
    table = pa.table({"number": list(range(150)), "deep": [[{"k": [row]}] for row in rows]})
    pq.write_table(table, made := io.BytesIO(), compression=compression)
    return made.getvalue()


def _sqlite(value: bytes, journal: str) -> bytes:
    with (
        TemporaryDirectory() as folder,
        closing(sqlite3.connect(f"{folder}/made.db")) as database,
    ):
        database.execute(f"PRAGMA journal_mode = {journal}")
        database.execute("CREATE TABLE t (a BLOB, b TEXT)")
        # The first row's text is no UTF-8.
        values = "('x', CAST(X'ff' AS TEXT)), (?, 'x')"
        database.execute(f"INSERT INTO t VALUES {values}", [value])
        database.commit()
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return Path(folder, "made.db").read_bytes()


CONTAINERS: dict[str, Callable[[bytes], bytes]] = {
    "bare": lambda value: b"before " + value + b" after",
    "gzip": lambda value: gzip.compress(b"one") + gzip.compress(value),
    "gzip cut off": lambda value: (gzip.compress(value) + gzip.compress(b"x" * 999))[:-12],
    "zstd": lambda value: _zstd(b"one", value),
    "zstd cut off": lambda value: _zstd(value, b"x" * 999)[:-3],
    "zip": _zip,
    "parquet": lambda value: _parquet(value, "none"),
    "parquet snappy": lambda value: _parquet(value, "snappy"),
    "parquet zstd": lambda value: _parquet(value, "zstd"),
    "parquet in gzip": lambda value: gzip.compress(_parquet(value, "snappy")),
    "sqlite": lambda value: _sqlite(value, "DELETE"),
    "sqlite with a log": lambda value: _sqlite(value, "WAL"),
    "gzip in sqlite": lambda value: _sqlite(gzip.compress(value), "DELETE"),
    "gzip in parquet": lambda value: _parquet(gzip.compress(value), "snappy"),
}
"""What holds a value in each kind of container."""


def plant_canaries(folder: Path) -> set[str]:
    """A file below `folder` for each form in each container; their paths."""
    folder.mkdir(parents=True)
    paths = set()
    for container, holding in CONTAINERS.items():
        for form, value in FORMS.items():
            path = folder / f"{form} in {container}"
            path.write_bytes(holding(value))
            paths.add(str(path))
    return paths
