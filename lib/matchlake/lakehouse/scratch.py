"""Temporary tables and folders of a check; the callbacks of its `undo` remove them."""

import shutil
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from matchlake.schemas import Column, TableSpec

if TYPE_CHECKING:
    from matchlake.io.delta import Lakehouse

LOCAL_CATALOGS = (None, "spark_catalog")
"""Catalogs without grants and persistent schemas; None is a local folder."""


def scratch_table(name: str, *, is_full: bool = False) -> TableSpec:
    """A table of two columns; with `is_full` it has all properties that the jobs declare."""
    columns = (
        Column("id", "INT", "Key", nullable=False),
        Column("value", "STRING", "Any text"),
    )
    comment = "Made by the job smoke, which drops it again."
    if not is_full:
        return TableSpec(name, comment, columns, user_columns=())
    return TableSpec(
        name,
        comment,
        columns,
        keys=("id",),
        cluster_by=("id",),
        checks=(("has_value", "value IS NOT NULL"),),
        changes=True,
        statistics=("id",),
        user_columns=(),
    )


def create_until(lake: "Lakehouse", spec: TableSpec, undo: ExitStack) -> bool:
    """Creates a table, which `undo` drops. Returns False if the schema is new; it goes too."""
    name, path = lake.name(spec.name), lake.path(spec.name)
    schema = name.rpartition(".")[0]
    was_there = bool(lake.spark.catalog.databaseExists(schema))
    # Local schemas last for a session. Only Unity Catalog knows whether one is empty.
    is_new = not was_there and lake.catalog not in LOCAL_CATALOGS
    if is_new:
        undo.callback(lake.spark.sql, f"DROP SCHEMA IF EXISTS {schema} RESTRICT")
    if path:
        scratch_folder(path, undo)
    undo.callback(lake.spark.sql, f"DROP TABLE IF EXISTS {name}")
    lake.create(spec)
    return not is_new


def scratch_folder(folder: str, undo: ExitStack) -> Path:
    """Creates a new folder. `undo` removes it, and the parent folders that were missing."""
    path = Path(folder)
    for above in reversed([each for each in path.parents if not each.exists()]):
        undo.callback(_remove_if_empty, above)
    undo.callback(remove_folder, path)
    return path


def remove_folder(path: Path) -> None:
    """Removes a folder with its contents, if it exists."""
    if path.exists():
        shutil.rmtree(path)


def _remove_if_empty(path: Path) -> None:
    with suppress(OSError):
        path.rmdir()
