"""Maintains tables: compacts small files, removes old ones, checks declared constraints.

Refuses to remove files that a table's retention protects, or that are younger than an hour. All
tables are maintained first. Then the job fails if rows break a declared constraint, or if a table
was not vacuumed because its erasure is not complete.
"""

import logging
import sys

from matchlake.errors import TableError
from matchlake.io.delta_maintenance import Maintenance
from matchlake.lakehouse.table_registry import declared_tables, table_names
from matchlake.runtime import Runtime, run_job

_log = logging.getLogger("matchlake.maintain_tables")


def run(runtime: Runtime) -> None:
    """Maintains the chosen tables, one after the other."""
    config, lake = runtime.config, runtime.lakehouse
    wanted = config.maintain
    specs = {name: spec for name, spec in declared_tables(config).items() if spec.columns}
    names = table_names(lake, config) if wanted.tables is None else wanted.tables
    lake.require(*names)
    tables = [
        Maintenance(name, specs.get(name), lake, wanted.cluster_by.get(name, ())) for name in names
    ]
    for table in tables:
        table.allow(wanted)
    problems = []
    for table in tables:
        try:
            done = table.declare()
        except TableError as error:
            problems.append(str(error))
            done = []
        joined = table.optimize() if wanted.optimize else None
        refused = table.vacuum(wanted.vacuum_hours) if wanted.vacuum else None
        if refused:
            problems.append(refused)
        told = [*done, joined] if joined else done
        _log.info("%s: %s", table.table, ", ".join(told) or "nothing to do")
    if problems:
        raise TableError(" ".join(problems))


if __name__ == "__main__":
    sys.exit(run_job("maintain_tables", run))
