"""Reads lake files as `load_lake` does, without tables."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from pyspark.sql import SparkSession

from matchlake.ingest.files.corruption import Fault
from matchlake.ingest.files.discovery import LakeFile
from matchlake.ingest.files.params import LakeSource
from matchlake.ingest.files.reader import LakeRows
from matchlake.ingest.files.sizes import TextLimits

OLD = datetime(2024, 5, 1, tzinfo=UTC)


class Loaded(NamedTuple):
    """What became of the rows of some files, by file and position, and of whole files by name."""

    rows: list[dict[str, Any]]
    faults: dict[str, Fault]
    read: int

    def told(self, *names: str) -> list[Any]:
        """Of each row the values of the columns, or its error code."""
        return [
            row["_error_code"]
            or (row[names[0]] if len(names) == 1 else tuple(row[name] for name in names))
            for row in self.rows
        ]


def column(type_: str = "string", **more: Any) -> dict[str, Any]:
    """An optional column as conf declares it."""
    return {"type": type_, "comment": "c", "required": False, **more}


def lake_source(format_: str, columns: dict[str, Any], **more: Any) -> LakeSource:
    """A source of all files, with the key `k`."""
    columns = {"k": column(required=True), **columns}
    entry = {"path": "*", "format": format_, "table": "s.t", "comment": "c", "keys": ["k"]}
    return LakeSource.model_validate({**entry, "columns": columns, **more})


def lake_file(path: Path) -> LakeFile:
    """A file as discovery finds it."""
    return LakeFile(path.as_uri(), path.stat().st_size, OLD)


def load_files(
    spark: SparkSession, folder: Path, source: LakeSource, paths: Sequence[Path]
) -> Loaded:
    """The rows of the files, each once."""
    reader = LakeRows("x", source, spark, str(folder / "staging"), TextLimits(2**24, None, spark))
    files = [lake_file(path) for path in sorted(paths)]
    checked = reader.check(files)
    fit = [file for file in files if file not in checked.empty and file not in checked.faults]
    parsed = reader.parse(fit, checked.schemas)
    found = parsed.rows.orderBy("file", "_block", "_number").collect() if parsed.rows else []
    assert len(found) == parsed.read, "a row is lost, or is there twice"
    faults = {**checked.faults, **parsed.faults}
    named = {file.file.rpartition("/")[2]: fault for file, fault in faults.items()}
    return Loaded([row.asDict() for row in found], named, parsed.read)
