"""The scan finds a canary in each form and container, so that finding none means something."""

import base64
import gzip
import json
import sqlite3
import zipfile
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.support.leaks import scan

CANARY = "canary/+\"'\n-välue"
FORMS = {
    "plain": CANARY.encode(),
    "json": json.dumps({"a": CANARY}).encode(),
    "json unicode": json.dumps({"a": CANARY}, ensure_ascii=False).encode(),
    "url": quote(CANARY, safe="").encode(),
    **{
        f"base64 after {before}": base64.b64encode(b"x" * before + CANARY.encode() + b"tail")
        for before in range(3)
    },
}


def _parquet(path: Path, value: bytes, compression: str) -> None:
    rows = [b"before", value, b"after"] * 50
    table = pa.table({"number": list(range(150)), "deep": [[{"k": [row]}] for row in rows]})
    pq.write_table(table, path, compression=compression)


def _write(path: Path, container: str, value: bytes) -> None:
    match container:
        case "bare":
            path.write_bytes(b"before " + value + b" after")
        case "gzip":
            path.write_bytes(gzip.compress(b"one") + gzip.compress(value))
        case "zstd":
            frames = [pa.Codec("zstd").compress(each) for each in (b"one", value)]
            path.write_bytes(b"".join(frame.to_pybytes() for frame in frames))
        case "zstd cut off":
            frames = [pa.Codec("zstd").compress(each) for each in (value, b"x" * 999)]
            path.write_bytes(b"".join(frame.to_pybytes() for frame in frames)[:-3])
        case "zip":
            with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
                archive.writestr("a/b", value)
        case "parquet" | "parquet snappy" | "parquet zstd":
            _parquet(path, value, container.partition(" ")[2] or "none")
        case "parquet in gzip":
            _parquet(path, value, "snappy")
            path.write_bytes(gzip.compress(path.read_bytes()))
        case "sqlite":
            with closing(sqlite3.connect(path)) as database:
                database.execute("CREATE TABLE t (a BLOB, b TEXT)")
                database.execute("INSERT INTO t VALUES (?, 'x')", [value])
                database.commit()


CONTAINERS = ("bare", "gzip", "zstd", "zstd cut off", "zip", "parquet", "parquet snappy")
CONTAINERS += ("parquet zstd", "parquet in gzip", "sqlite")


@pytest.mark.parametrize("container", CONTAINERS)
def test_a_canary_is_found_in_every_form(tmp_path: Path, container: str) -> None:
    for form, value in FORMS.items():
        _write(tmp_path / form, container, value)
        (tmp_path / f"{form} clean").write_bytes(b"nothing of it")
    result = scan([tmp_path], {"canary": CANARY})
    assert result.found["canary"] == {str(tmp_path / form) for form in FORMS}
    assert result.files == 2 * len(FORMS)


def test_what_is_named_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "vault.json").write_text(CANARY)
    (tmp_path / "log").write_text("fine")
    result = scan([tmp_path], {"canary": CANARY}, skip=[tmp_path / "vault.json"])
    assert (result.files, result.found) == (1, {})
    line = result.closing_line({"canary": CANARY})
    assert line == "leak scan: 1 files, 4 bytes ( opened), 1 planted values, 0 found"
