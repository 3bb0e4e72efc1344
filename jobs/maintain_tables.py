"""Maintains tables: compacts small files, removes old ones, checks declared constraints.

Refuses to remove files that a table's retention protects, or that are younger than an hour. All
tables are maintained first. Then the job fails if rows break a declared constraint, or if a table
was not vacuumed because its erasure is not complete. Checkpoints of failed trainings are removed,
too, if they are older than `maintain.fit_checkpoint_days`.
"""

import logging
import sys

from matchlake.errors import TableError
from matchlake.io.delta_maintenance import Maintenance
from matchlake.io.fit_checkpoints import FIT_JOBS, remove_checkpoints
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
    for job in FIT_JOBS:
        place = f"{config.checkpoints}/{job}"
        removed = remove_checkpoints(place, params.fit_checkpoint_days)
        _log.info("%s: %d checkpoints of failed runs removed", place, removed)
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
