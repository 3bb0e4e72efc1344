"""What becomes of each kind of file that a lake may hold, and what the file_log says of it."""

import gzip
import runpy
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession
from tests.support.streams import runtime_in

from matchlake.errors import ConfigError
from matchlake.runtime import Runtime

run = runpy.run_path("jobs/load_lake.py")["run"]

SALES = {
    "path": "year=*/*",
    "format": "csv",
    "comment": "s",
    "keys": ["sale"],
    "partition_columns": ["year"],
    "format_options": {
        "separator": ";",
        "quote": "'",
        "encoding": "iso-8859-1",
        "null_value": "NA",
    },
    "columns": {
        "sale": {"type": "string", "comment": "s"},
        "town": {"type": "string", "required": False, "comment": "t"},
        "year": {"type": "int", "comment": "y"},
    },
}
VISITS = {
    "path": "*.parquet",
    "format": "parquet",
    "comment": "v",
    "keys": ["id"],
    "columns": {"id": {"type": "bigint", "comment": "i"}},
}
HEAD = "sale;town\n"


def at(spark: SparkSession, folder: Path, source: dict[str, Any], **more: Any) -> Runtime:
    """A runtime with one source `x`, its tables in the schema of the test."""
    (folder / "lake").mkdir(exist_ok=True)
    own = folder.name.replace("-", "_")
    sources = {"x": source | {"table": f"{own}.x"}}
    names = {"quarantine": f"{own}.quarantine", "file_log": f"{own}.files"}
    return runtime_in(spark, folder, lake={"sources": sources, **names, **more})


def rows(runtime: Runtime) -> list[tuple[Any, ...]]:
    return sorted(
        map(tuple, runtime.lakehouse.read(runtime.config.lake.sources["x"].table).collect())
    )


def file_log(runtime: Runtime) -> dict[str, tuple[Any, ...]]:
    """Of each file by name: status, rows, valid, quarantined, loads."""
    found = runtime.lakehouse.read(runtime.config.lake.file_log).collect()
    for row in found:
        assert row.rows is None or row.rows == row.valid + row.quarantined
    return {
        row.file.rpartition("/")[2]: (
            row.status,
            row.rows,
            row.valid,
            row.quarantined,
            row.loads,
        )
        for row in found
    }


def refused(runtime: Runtime) -> dict[str, tuple[str, str]]:
    found = runtime.lakehouse.read(runtime.config.lake.quarantine).collect()
    kept = sum(numbers[3] or 0 for numbers in file_log(runtime).values())
    assert len(found) == kept, "the file_log counts what the quarantine holds"
    return {
        row.file.rpartition("/")[2]: (row["_error_code"], row["_error_message"]) for row in found
    }


@pytest.mark.soak
def test_each_file_is_loaded_once_by_its_kind_and_anew_when_it_changes(
    spark: SparkSession, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "matchlake")
    runtime = at(spark, tmp_path, SALES)
    files = tmp_path / "lake"
    for year in ("2023", "2024", "x+1%2F2"):
        (files / f"year={year}").mkdir()
    packed = gzip.compress(
        (HEAD + "".join(f"z{n};t{n * 7919 % 997}\n" for n in range(5000))).encode()
    )
    (files / "year=2023" / "a.csv").write_bytes(
        (HEAD + "a;'Bü;d'\nb;NA\n;x\nc\n").encode("latin-1")
    )
    (files / "year=2024" / "odd [1]{x}+%20.csv").write_text(HEAD + "a;late\nd;\n")
    (files / "year=2024" / "good.csv.gz").write_bytes(packed)
    (files / "year=2024" / "torn.csv.gz").write_bytes(packed[: len(packed) // 2])
    (files / "year=2024" / "plain.csv.gz").write_text(HEAD)
    (files / "year=2024" / "empty.csv").touch()
    (files / "year=2024" / "unsaid.csv.gz").write_bytes(gzip.compress(b""))
    (files / "year=x+1%2F2" / "e.csv").write_text(HEAD + "e;x\n")

    run(runtime)

    assert [row for row in rows(runtime) if not row[0].startswith("z")] == [
        ("a", "late", 2024),
        ("b", None, 2023),
        ("d", None, 2024),
    ]
    first = {
        "a.csv": ("loaded", 4, 2, 2, 1),
        "odd%20%5B1%5D%7Bx%7D+%2520.csv": ("loaded", 2, 2, 0, 1),
        "good.csv.gz": ("loaded", 5000, 5000, 0, 1),
        "torn.csv.gz": ("corrupt", 1, 0, 1, 1),
        "plain.csv.gz": ("corrupt", 1, 0, 1, 1),
        "empty.csv": ("empty", 0, 0, 0, 1),
        "unsaid.csv.gz": ("empty", 0, 0, 0, 1),
        "e.csv": ("loaded", 1, 0, 1, 1),
    }
    assert file_log(runtime) == first
    bad = refused(runtime)
    assert bad["e.csv"] == ("wrong_type", "year: 'x+1/2' is not a valid int")
    assert bad["torn.csv.gz"][0] == bad["plain.csv.gz"][0] == "corrupt_file"
    assert "Unexpected end of input stream" in bad["torn.csv.gz"][1]
    assert "not a gzip file" in bad["plain.csv.gz"][1]
    told = "x: read 5009 = 5004 valid + 5 quarantined from 4 file(s), 2 corrupt; 5003 keys into"
    assert told in caplog.text
    assert "empty.csv is empty and skipped" in caplog.text

    shutil.rmtree(tmp_path / "checkpoints")  # the file_log, not the checkpoint, says what is loaded
    (files / "year=2023" / "a.csv").write_text(HEAD + "a;back\nc;mended\n")
    (files / "year=2024" / "torn.csv.gz").write_bytes(gzip.compress(f"{HEAD}t;whole\n".encode()))
    run(runtime)
    assert [row for row in rows(runtime) if row[0] in "act"] == [
        ("a", "back", 2023),
        ("c", "mended", 2023),
        ("t", "whole", 2024),
    ]
    changed = {"a.csv": ("loaded", 2, 2, 0, 2), "torn.csv.gz": ("loaded", 1, 1, 0, 2)}
    assert file_log(runtime) == first | changed
    assert set(refused(runtime)) == {"plain.csv.gz", "e.csv"}
    assert "a.csv has changed since it was found" in caplog.text


@pytest.mark.soak
def test_broken_parquet_is_refused_whole_and_a_restored_table_filled_again(
    spark: SparkSession, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "matchlake")
    runtime = at(spark, tmp_path, VISITS)
    for name in "abc":
        spark.range(50000).where(f"id < {100 if name == 'b' else 50000}").coalesce(1).write.parquet(
            str(tmp_path / name)
        )
        (part,) = (tmp_path / name).glob("*.parquet")
        part.rename(tmp_path / "lake" / f"{name}.parquet")
    page, tail = (tmp_path / "lake" / f"{name}.parquet" for name in "ac")
    raw = page.read_bytes()
    page.write_bytes(raw[:40] + b"\xff" * 400 + raw[440:])
    tail.write_bytes(tail.read_bytes()[:-9])
    run(runtime)
    assert len(rows(runtime)) == 100
    expected = {
        "a.parquet": ("corrupt", 1, 0, 1, 1),
        "b.parquet": ("loaded", 100, 100, 0, 1),
        "c.parquet": ("corrupt", 1, 0, 1, 1),
    }
    assert file_log(runtime) == expected
    assert {reason for reason, _ in refused(runtime).values()} == {"corrupt_file"}

    table = runtime.lakehouse.name(runtime.config.lake.sources["x"].table)
    spark.sql(f"RESTORE TABLE {table} TO VERSION AS OF 0")
    page.unlink()
    tail.unlink()
    run(runtime)
    assert len(rows(runtime)) == 100
    assert "1 file(s) are loaded again: the declaration or the table has changed" in caplog.text
    lake = runtime.config.lake.model_copy(update={"reload": ("x",)})
    run(replace(runtime, config=runtime.config.model_copy(update={"lake": lake})))
    assert file_log(runtime) == expected | {"b.parquet": ("loaded", 100, 100, 0, 3)}


def test_auto_loader_outside_databricks_is_an_error(spark: SparkSession, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="auto_loader, which exists on Databricks only"):
        run(at(spark, tmp_path, SALES, file_discovery="auto_loader"))
