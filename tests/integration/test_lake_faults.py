"""Faults of files, folders and tables give one sentence each, and everything else is loaded."""

import gzip
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from tests.support.programs import run_program
from tests.support.sources import ROOT

ROWS = "k,x\na,1\n"
Make = Callable[[Path, Path], None]
"""Makes a fault, given the path of the file without its ending, and the lakehouse."""


def text(ending: str, content: bytes | str) -> Make:
    """A file with the content."""

    def make(path: Path, _: Path) -> None:
        raw = content if isinstance(content, bytes) else content.encode()
        path.with_suffix(ending).write_bytes(raw)

    return make


def table(values: Any, cut: int = 0, **columns: Any) -> Make:
    """A Parquet file with the column x and others, of which the last bytes are cut."""

    def make(path: Path, _: Path) -> None:
        rows = pa.table({"k": ["a"] * len(values), "x": values, **columns})
        out = path.with_suffix(".parquet")
        pq.write_table(rows, out)
        out.write_bytes(out.read_bytes()[: -cut or None])

    return make


def blocked(place: str) -> Make:
    """A file where a folder has to be, and a good file to load."""

    def make(path: Path, lakehouse: Path) -> None:
        path.with_suffix(".csv").write_text(ROWS)
        at = lakehouse / place
        at.parent.mkdir(parents=True, exist_ok=True)
        at.write_text("no folder")

    return make


def dangling(path: Path, _: Path) -> None:
    """A link to a file that is not there."""
    path.with_suffix(".csv").symlink_to("nowhere.csv")


NANOS = pa.array([1714557600123456789], pa.timestamp("ns"))
FAULTS: dict[str, tuple[Make, str]] = {
    "torn_parquet": (table(["1"], cut=9), "is corrupt and rejected"),
    "no_parquet": (text(".parquet", ROWS), "is corrupt and rejected"),
    "torn_gzip": (text(".csv.gz", gzip.compress(ROWS.encode() * 999)[:-20]), "is corrupt"),
    "other_header": (text(".csv", "k;x\na;1\n"), 'has the columns "k;x"'),
    "doubled_header": (text(".csv", "X,x\na,1\n"), 'has the columns "X", "x"'),
    "cp1252": (text(".csv", ROWS.encode() + "b,\xe4\n".encode("cp1252")), "1 quarantined"),
    "utf_16": (text(".json", '{"k": "a", "x": "1"}\n'.encode("utf-16")), "quarantined"),
    "nanos": (table(["1"], at=NANOS), "1 valid"),
    "time": (table(pa.array([5], pa.time64("us"))), "1 quarantined"),
    "map": (table(pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int64()))), "1 quarantined"),
    "other_columns": (
        lambda path, _: pq.write_table(pa.table({"k": ["a"]}), path.with_suffix(".parquet")),
        'has the columns "k"',
    ),
    "dangling": (dangling, "dangling"),
    "blocked_table": (blocked("warehouse/bronze/blocked_table"), "- blocked_table: "),
    "blocked_log": (
        blocked("warehouse/bronze/blocked_log/_delta_log/00000000000000000000.json"),
        "- blocked_log: ",
    ),
    "blocked_checkpoint": (
        blocked("checkpoints/lake.blocked_checkpoint"),
        "- blocked_checkpoint: ",
    ),
    "pattern": (text(".csv", ROWS), "- pattern: "),
    "missing": (lambda *_: None, "No file"),
    "good": (text(".csv", ROWS), "read 1 = 1 valid + 0 quarantined"),
}


@pytest.mark.soak
def test_load_faults_give_a_sentence_each(tmp_path: Path) -> None:
    lakehouse = tmp_path / "house"
    (lakehouse / "lake").mkdir(parents=True)
    column = {"type": "string", "comment": "c"}
    sources = {}
    for name, (make, _) in FAULTS.items():
        make(lakehouse / "lake" / name, lakehouse)
        kind = next((end for end in ("parquet", "json") if _is_of(lakehouse, name, end)), "csv")
        sources[name] = {
            "path": "pattern[*.csv" if name == "pattern" else f"{name}*",
            "format": kind,
            "table": f"bronze.{name}",
            "comment": "c",
            "keys": ["k"],
            "required": name == "missing",
            "columns": {"k": column, "x": {**column, "required": False}},
        }
    conf = {"lakehouse": str(lakehouse), "checkpoints": str(lakehouse / "checkpoints")}
    conf |= {"secrets": {"stores": ["environment"]}, "lake": {"sources": sources}}
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "base.yml").write_text(yaml.safe_dump(conf))
    (tmp_path / "conf" / "local.yml").write_text("{}")
    done = run_program(
        "matchlake", "run", "load_lake", "--conf-dir", str(tmp_path / "conf"), cwd=ROOT
    )
    said = done.stdout + done.stderr
    assert done.returncode == 1, said[-3000:]
    assert not re.search(r"Traceback|at org\.apache|\n\s+at ", said), said[-6000:]
    for name, (_, told) in FAULTS.items():
        lines = [line for line in said.splitlines() if re.search(rf"\b{name}\b", line)]
        assert any(told in line for line in lines), (name, told, lines)


def _is_of(lakehouse: Path, name: str, ending: str) -> bool:
    return bool(list((lakehouse / "lake").glob(f"{name}.{ending}")))
