"""Builds training sets: labels with the values known at their time, recorded in MLflow runs."""

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
    """Writes every declared training set, or one that a run recorded, each with an MLflow run."""
    if not runtime.config.training_sets:
        _log.warning("conf declares no training_sets, so nothing is built")
    for name, params in runtime.config.training_sets.items():
        build_set(runtime, name, params)


def build_set(runtime: Runtime, name: str, params: TrainingSetTable) -> None:
    """Writes one training set; a rebuilt one must have the digest of its record."""
    lake, tracker = runtime.lakehouse, runtime.tracker
    if params.run:
        record = recorded_training_set(tracker, params.run)
        frame = rebuild_training_set(lake, record)
    else:
        record = params.rows.pinned(lake)
        frame = read_training_set(lake, record)
    lake.replace(frame, training_set_table(params, frame))
    version = lake.version(params.table)
    written = digest(lake.read(params.table, version))
    with tracker.run(f"training set {name}") as tracked:
        log_training_set(tracked, record.model_copy(update={"digest": written}))
        tracked.log_params({"table": params.table, "table_version": version, "digest": written})
    properties = {"matchlake.run": tracked.run_id, "matchlake.digest": written}
    set_properties(lake, params.table, properties)
    text = "%s version %d: digest %s, run %s"
    _log.info(text, params.table, version, written, tracked.run_id)


if __name__ == "__main__":
    sys.exit(run_job("build_training_sets", run))
