"""Local Delta tables as Parquet files: which ones a process can read, and one commit of new files.

Only what needs no Spark to be right: no deletion vectors, no column mapping, no table of a catalog.
Needs the package deltalake.
"""

import importlib.util
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from matchlake.errors import EngineError, TableError
from matchlake.io.databricks import on_databricks
from matchlake.io.delta import Lakehouse
from matchlake.io.storage import is_local

if TYPE_CHECKING:
    from deltalake import DeltaTable

_READ = {"timestampNtz", "vacuumProtocolCheck"}
"""Features of a table that change nothing of how its files are read."""
_WRITTEN = {"appendOnly", "invariants", "checkConstraints", "changeDataFeed", *_READ}
"""Features of a table that a whole overwrite can respect."""
_TEXT_STATISTICS = 32
"""Longer strings are not kept as minimum or maximum of a file."""


class NewFile(NamedTuple):
    """A Parquet file that is in the table's folder, but in no commit yet."""

    path: str
    """The file's path."""
    rows: int
    size: int
    nulls: Mapping[str, int]
    """The number of nulls by column."""
    ends: Mapping[str, tuple[Any, Any]]
    """The smallest and the largest value by column, where both are exact."""
    partition: Mapping[str, str | None]


@dataclass(frozen=True)
class DeltaFiles:
    """The state of a local Delta table at one version."""

    table: str
    folder: str
    version: int
    files: tuple[str, ...] = field(repr=False)
    size: int
    """Bytes of the files."""
    schema: Mapping[str, Any] = field(repr=False)
    """The schema as Delta's log has it."""
    partition_by: tuple[str, ...]
    properties: Mapping[str, str] = field(repr=False)
    limits: Mapping[str, str]
    """Why this process cannot `read` or `overwrite` the table; no entry where it can."""
    handle: "DeltaTable" = field(repr=False, compare=False)

    def require(self, use: str) -> None:
        """Raises EngineError if the table cannot be `read` or `overwrite`."""
        if use in self.limits:
            raise EngineError(f"{self.table} {self.limits[use]}")


def can_open() -> str | None:
    """Returns why no Delta table can be read as files here; None if it is possible."""
    if on_databricks():
        return "the platform manages the tables"
    missing = [name for name in ("duckdb", "deltalake") if importlib.util.find_spec(name) is None]
    if missing:
        return f"{' and '.join(missing)} is not installed: pip install 'matchlake[duckdb]'"
    return None


def open_files(lake: Lakehouse, table: str) -> DeltaFiles:
    """The files of a table; raises EngineError if this process does not see them."""
    import deltalake  # noqa: PLC0415 - an optional package

    folder = lake.path(table)
    if folder is None or not is_local(lake.folder or ""):
        raise EngineError(f"{table} is not in a local folder")
    if not (Path(folder) / "_delta_log").is_dir():
        raise EngineError(f"{table} has no files of its own, for example because it is a view")
    try:
        opened = deltalake.DeltaTable(folder)
        files = tuple(opened.file_uris())
        actions = opened.get_add_actions(flatten=True)
        schema = json.loads(opened.schema().to_json())
    except deltalake.exceptions.DeltaError as error:
        raise EngineError(f"{table} cannot be read without Spark: {error}") from None
    partition_by = tuple(opened.metadata().partition_columns)
    limits = {"read": _read_limit(opened, files), "overwrite": _overwrite_limit(opened, schema)}
    return DeltaFiles(
        table=table,
        folder=folder,
        version=opened.version(),
        files=files,
        size=sum(actions["size_bytes"].to_pylist()) if files else 0,
        schema=schema,
        partition_by=partition_by,
        properties=dict(opened.metadata().configuration),
        limits={use: reason for use, reason in limits.items() if reason},
        handle=opened,
    )


def _read_limit(opened: "DeltaTable", files: Sequence[str]) -> str | None:
    features = set(opened.protocol().reader_features or ()) - _READ
    if features:
        return f"has features that only Spark reads: {', '.join(sorted(features))}"
    if opened.metadata().configuration.get("delta.columnMapping.mode", "none") != "none":
        return "has a column mapping, which only Spark reads"
    if not all(is_local(file) and Path(file).is_file() for file in files):
        return "has files that this process does not see"
    return None


def _overwrite_limit(opened: "DeltaTable", schema: Mapping[str, Any]) -> str | None:
    metadata, features = opened.metadata(), opened.protocol().writer_features
    more = set(features or ()) - _WRITTEN
    if more:
        return f"has features that only Spark writes: {', '.join(sorted(more))}"
    if metadata.configuration.get("delta.columnMapping.mode", "none") != "none":
        return "has a column mapping, which only Spark writes"
    if metadata.configuration.get("delta.appendOnly") == "true":
        return "only takes new rows (delta.appendOnly)"
    special = [f["name"] for f in schema["fields"] if set(f["metadata"]) - {"comment"}]
    if special:
        return f"has columns with rules that only Spark applies: {', '.join(special)}"
    return None


def overwrite_files(
    target: DeltaFiles,
    new: Sequence[NewFile],
    schema: str,
    statistics: Sequence[str],
) -> None:
    """Replaces the rows of a table by those of new files, in one commit.

    `schema` is Delta's JSON of the new columns, the table's own where they did not change.
    `statistics` names the columns whose ends are kept, so that reads can skip files. Raises
    TableError if another run changed the table in the meantime; nothing is replaced then.
    """
    import deltalake  # noqa: PLC0415 - an optional package
    from deltalake.transaction import AddAction, RemoveAction  # noqa: PLC0415

    actions: list[AddAction | RemoveAction] = [
        AddAction(
            path=Path(each.path).relative_to(target.folder).as_posix(),
            size=each.size,
            partition_values=dict(each.partition),
            modification_time=int(Path(each.path).stat().st_mtime * 1000),
            data_change=True,
            stats=json.dumps(_statistics(each, statistics)),
        )
        for each in new
    ]
    try:
        target.handle.create_write_transaction(
            actions,
            mode="overwrite",
            schema=deltalake.Schema.from_json(schema),
            partition_by=list(target.partition_by) or None,
            # A second try would keep rows that another run added in the meantime.
            commit_properties=deltalake.CommitProperties(max_commit_retries=0),
        )
    except deltalake.exceptions.DeltaError as error:
        if new and _names(target, Path(new[0].path).name):  # only work after the commit failed
            return
        raise TableError(
            f"{target.table} was not replaced: {error}. If another run wrote the table, run again."
        ) from None


def _statistics(file: NewFile, columns: Sequence[str]) -> dict[str, Any]:
    ends = {name: file.ends[name] for name in columns if name in file.ends}
    kept = {
        name: pair
        for name, pair in ends.items()
        if all(not isinstance(end, str) or len(end) <= _TEXT_STATISTICS for end in pair)
    }
    return {
        "numRecords": file.rows,
        "minValues": {name: low for name, (low, _) in kept.items()},
        "maxValues": {name: high for name, (_, high) in kept.items()},
        "nullCount": {name: file.nulls[name] for name in columns if name in file.nulls},
    }


def remove_files(target: DeltaFiles, prefix: str) -> None:
    """Removes the files of a table whose names begin with `prefix`, if no new commit names them.

    An interruption may come after the commit, which then needs the files.
    """
    if not _names(target, prefix):
        for each in Path(target.folder).rglob(f"{prefix}*"):
            each.unlink(missing_ok=True)


def _names(target: DeltaFiles, text: str) -> bool:
    """Whether a commit after the version of `target` has `text`, such as the name of a file."""
    commits = (Path(target.folder) / "_delta_log").glob("*.json")
    new = [each for each in commits if each.stem.isdigit() and int(each.stem) > target.version]
    return any(text in each.read_text(encoding="utf-8") for each in new)
