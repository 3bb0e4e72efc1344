"""Lines and packed files that are too large are found without being held."""

import bz2
import gzip
import json
import re
import runpy
import subprocess
import sys
import zlib
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pyspark.sql import SparkSession
from tests.support.fuzzing import write_mutated_files
from tests.support.sources import ROOT
from tests.support.streams import runtime_in

from matchlake.ingest.files.discovery import LakeFile
from matchlake.ingest.files.sizes import TextLimits

run = runpy.run_path("jobs/load_lake.py")["run"]

LIMIT = 20_000
LONG = f"a line has more bytes than lake.max_line_bytes, {LIMIT}"
OLD = datetime(2024, 5, 1, tzinfo=UTC)


def lake_files(folder: Path, contents: dict[str, bytes]) -> list[LakeFile]:
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return [
        LakeFile(f"file:{folder}/{name}", (folder / name).stat().st_size, OLD)
        for name in sorted(contents)
    ]


def exceeded(limits: TextLimits, files: list[LakeFile]) -> dict[str, str]:
    found = limits.exceeded(files)
    return {file.file.rpartition("/")[2]: fault.reason for file, fault in found.items()}


def test_exceeded_names_the_files_with_a_long_line(spark: SparkSession, tmp_path: Path) -> None:
    lines = b"".join(b"%d,%s\n" % (n, b"x" * (n % 50)) for n in range(2000))
    most, over = b"y" * LIMIT, b"#" + b"y" * (LIMIT + 1)
    fine = {
        "unended": lines + most,
        "marked": b"\xef\xbb\xbf" + lines,
        "returns": lines.replace(b"\n", b"\r\n"),
        "bytes": bytes(range(256)) * 200,
        "quotes": b'"' * 15_000 + b"\n" + lines,
    }
    long = {
        "first": over + b"\n" + lines,
        "last": lines + over,
        "two": lines + over + b"\n" + lines + over * 3 + b"\n" + lines,
        "huge": lines + b"z" * 10_000_000 + b"\n" + lines,
    }
    packed = {f"{name}.gz": gzip.compress(content) for name, content in fine.items()}
    packed["parts.gz"] = gzip.compress(lines) + gzip.compress(most)
    packed["nothing.gz"] = b""
    packed |= {"two.gz": gzip.compress(long["two"]), "huge.bz2": bz2.compress(long["huge"])}
    files = lake_files(tmp_path, fine | long | packed)
    names = (*long, "two.gz", "huge.bz2")
    assert exceeded(TextLimits(LIMIT, None, spark), files) == dict.fromkeys(names, LONG)


def test_exceeded_names_the_files_that_cannot_be_unpacked(
    spark: SparkSession, tmp_path: Path
) -> None:
    packed = gzip.compress(b"".join(b"%d\n" % (n * 7919) for n in range(20_000)))
    contents = {
        "fine.gz": packed,
        "large.gz": gzip.compress(b"x\n" * 200_000),
        "torn.gz": packed[:-2000],
        "plain.gz": b"a,b\n1,2\n" * 9,
        "flipped.gz": packed[:1000] + b"\xff" * 50 + packed[1050:],
        "zlib.gz": zlib.compress(b"x"),
    }
    found = exceeded(TextLimits(LIMIT, 300_000, spark), lake_files(tmp_path, contents))
    assert (
        found.pop("large.gz") == "400000 bytes decompressed, above lake.max_unpacked_bytes, 300000"
    )
    assert "Unexpected end of input stream" in found.pop("torn.gz")
    assert "not a gzip file" in found["plain.gz"]
    assert set(found) == {"plain.gz", "flipped.gz", "zlib.gz"}


NOTE = "x" * 5000
ONE, QUOTED = "a,b\n", "x\n" * 2500
FILES = {
    "csv": {
        "1.csv": f"id,note\n{ONE}",
        "2.csv.gz": f"id,note\nb,{NOTE}\n",
        "3.csv": f"{'i' * 5000},note\n{ONE}",
    },
    "json": {
        "1.json": json.dumps({"id": "a", "note": "b"}),
        "2.json.gz": json.dumps({"id": "b", "note": NOTE}),
    },
    "multiline": {"1.csv": 'id,note\na,"b\nc"\n', "2.csv": f'id,note\nb,"{QUOTED}"\n'},
}


@pytest.mark.soak
@pytest.mark.parametrize("kind", ["csv", "json", "multiline"])
def test_load_files_above_a_limit_are_corrupt_and_the_others_load(
    spark: SparkSession, tmp_path: Path, kind: str
) -> None:
    (tmp_path / "lake").mkdir()
    for name, text in FILES[kind].items():
        content = gzip.compress(text.encode()) if name.endswith(".gz") else text.encode()
        (tmp_path / "lake" / name).write_bytes(content)
    own = tmp_path.name.replace("-", "_")
    column = {"type": "string", "comment": "c"}
    source = {"path": "*", "format": "json" if kind == "json" else "csv", "table": f"{own}.t"}
    source |= {"comment": "c", "keys": ["id"], "columns": {"id": column, "note": column}}
    source |= {"format_options": {"multiline": kind == "multiline"}}
    names = {"quarantine": f"{own}.quarantine", "file_log": f"{own}.files"}
    lake = {"sources": {"x": source}, **names, "max_line_bytes": 4000}
    runtime = runtime_in(spark, tmp_path, lake=lake)
    run(runtime)
    assert [row.id for row in runtime.lakehouse.read(f"{own}.t").collect()] == ["a"]
    log = runtime.lakehouse.read(f"{own}.files").collect()
    corrupt = {row.file.rpartition("/")[2] for row in log if row.status == "corrupt"}
    assert corrupt == {name for name in FILES[kind] if not name.startswith("1.")}
    rejected = runtime.lakehouse.read(f"{own}.quarantine").collect()
    assert {row["_error_code"] for row in rejected} == {"corrupt_file"}
    if kind != "multiline":  # there a field is too long, and each of its lines is short
        reasons = {row["_error_message"] for row in rejected}
        assert reasons == {LONG.replace(str(LIMIT), "4000")}


@pytest.mark.soak
def test_load_a_line_of_a_gigabyte_in_a_small_file(spark: SparkSession, tmp_path: Path) -> None:
    own = tmp_path.name.replace("-", "_")
    files = tmp_path / "lake"
    files.mkdir()
    with gzip.open(files / "bomb.json.gz", "wb") as out:
        out.write(b'{"id": "')
        for _ in range(1000):
            out.write(b"x" * 2**20)
        out.write(b'"}\n')
    (files / "fine.json").write_text('{"id": "a"}\n')
    source = {"path": "*", "format": "json", "table": f"{own}.t", "comment": "c", "keys": ["id"]}
    source["columns"] = {"id": {"type": "string", "comment": "i"}}
    names = {"quarantine": f"{own}.quarantine", "file_log": f"{own}.files"}
    runtime = runtime_in(spark, tmp_path, lake={"sources": {"x": source}, **names})
    run(runtime)
    assert [row.id for row in runtime.lakehouse.read(f"{own}.t").collect()] == ["a"]
    log = runtime.lakehouse.read(f"{own}.files").collect()
    assert sorted(row.status for row in log) == ["corrupt", "loaded"]


@pytest.mark.soak
def test_load_changed_packed_files_end_no_process(tmp_path: Path) -> None:
    """In a process of its own, which may not end with a crash."""
    (tmp_path / "lake").mkdir()
    write_mutated_files(7, 60, tmp_path / "lake")
    column = {"type": "string", "comment": "c"}
    source = {"path": "*.gz", "format": "json", "table": "bronze.t", "comment": "c"}
    source |= {"keys": ["user_id"], "columns": {"user_id": column}}
    settings = (f"lakehouse={tmp_path}", f"lake.sources={json.dumps({'x': source})}")
    sets = [part for each in settings for part in ("--set", each)]
    done = subprocess.run(
        [sys.executable, "jobs/load_lake.py", "--env", "demo", *sets],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = re.search(r"x: read .* from (\d+) file\(s\), (\d+) corrupt", done.stderr)
    assert found, done.stderr[-3000:]
    loaded, corrupt = map(int, found.groups())
    assert loaded + corrupt == 60
    assert loaded >= 30
