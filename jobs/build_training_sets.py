"""Labels with what was known when each of them happened, pinned to versions in an MLflow run."""

import logging
import sys

from matchlake.io.delta_properties import set_properties
from matchlake.runtime import Runtime, run_job
from matchlake.training.training_set import (
    TrainingSetTable,
    digest,
    log_training_set,
    read_training_set,
    rebuild_training_set,
    recorded_training_set,
    training_set_table,
)

_log = logging.getLogger("matchlake.build_training_sets")


def run(runtime: Runtime) -> None:
    """Writes every declared training set, or the one that a run recorded, with a run for each."""
    if not runtime.config.training_sets:
        _log.warning("conf declares no training_sets: there is nothing to build")
    for name, wanted in runtime.config.training_sets.items():
        build_set(runtime, name, wanted)


def build_set(runtime: Runtime, name: str, wanted: TrainingSetTable) -> None:
    """Writes one training set; one that is built again must have the digest of its record."""
    lake, tracker = runtime.lakehouse, runtime.tracker
    if wanted.run:
        record = recorded_training_set(tracker, wanted.run)
        frame = rebuild_training_set(lake, record)
    else:
        record = wanted.rows.pinned(lake)
        frame = read_training_set(lake, record)
    lake.replace(frame, training_set_table(wanted, frame))
    version = lake.version(wanted.table)
    written = digest(lake.read(wanted.table, version))
    with tracker.run(f"training set {name}") as tracked:
        log_training_set(tracked, record.model_copy(update={"digest": written}))
        tracked.log_params({"table": wanted.table, "table_version": version, "digest": written})
    properties = {"matchlake.run": tracked.run_id, "matchlake.digest": written}
    set_properties(lake, wanted.table, properties)
    text = "%s version %d: digest %s, run %s"
    _log.info(text, wanted.table, version, written, tracked.run_id)


if __name__ == "__main__":
    sys.exit(run_job("build_training_sets", run))
