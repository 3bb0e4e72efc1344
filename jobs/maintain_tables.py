"""Maintains the tables: joins small files, removes old ones, applies the declarations.

It removes no file within the retention of its table, and none younger than an hour. Some tables
may have rows that break a constraint, or an incomplete erasure, and are not vacuumed then. The
job names them at the end, after all tables.
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
    params = config.maintain
    specs = {name: spec for name, spec in declared_tables(config).items() if spec.columns}
    names = table_names(lake, config) if params.tables is None else params.tables
    lake.require(*names)
    tables = [
        Maintenance(name, specs.get(name), lake, params.cluster_by.get(name, ())) for name in names
    ]
    for table in tables:
        table.require_allowed(params)
    problems = []
    for table in tables:
        try:
            changes = table.apply_declaration()
        except TableError as error:
            problems.append(str(error))
            changes = []
        rewritten = table.optimize() if params.optimize else None
        refused = table.vacuum(params.vacuum_hours) if params.vacuum else None
        if refused:
            problems.append(refused)
        changes += [rewritten] if rewritten else []
        _log.info("%s: %s", table.table, ", ".join(changes) or "nothing to do")
    if problems:
        raise TableError(" ".join(problems))


if __name__ == "__main__":
    sys.exit(run_job("maintain_tables", run))
