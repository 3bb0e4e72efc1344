"""Rules on the synced tables of Lakebase, with which Databricks publishes gold tables itself."""

from collections.abc import Iterator
from typing import Any

from matchlake.config import JobConfig
from matchlake.dev.bundle.resolve import Resolved
from matchlake.dev.bundle.tree import Problem, problem

SYNCED_KINDS = ("postgres_synced_tables", "synced_database_tables")
"""The resources of synced tables: those of Lakebase projects, and those of database instances."""


def online_rules(resolved: Resolved, config: JobConfig) -> Iterator[Problem]:
    """Differences between the synced tables of the bundle and `online.tables` of conf.

    Without `lakebase` in `online.stores`, conf asks for no synced table.
    """
    if "lakebase" not in config.online.stores:
        return
    synced = {
        str(spec.get("source_table_full_name")): (path, spec) for path, spec in _synced(resolved)
    }
    for name, table in config.online.tables.items():
        full = f"{config.catalog}.{table.table}"
        if full not in synced:
            text = f"no synced table reads {full}, which conf's online.tables.{name} publishes"
            yield problem(resolved.tree, ("resources",), text)
            continue
        path, spec = synced[full]
        if list(spec.get("primary_key_columns") or ()) != list(table.keys):
            text = f"conf's online.tables.{name}.keys are {', '.join(table.keys)}"
            yield problem(resolved.tree, (*path, "primary_key_columns"), text)


def _synced(resolved: Resolved) -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
    """The path and the specification of every synced table."""
    resources = resolved.tree.get("resources", {})
    for kind in SYNCED_KINDS:
        for key, each in resources.get(kind, {}).items():
            path = ("resources", kind, key)
            if kind == "synced_database_tables":
                yield (*path, "spec"), each.get("spec") or {}
            else:
                yield path, each
