"""Which version of each table a training set reads, and what its run says of them."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import mlflow
from tests.support.saved_models import tracker_in

from matchlake.io.delta import Lakehouse
from matchlake.training.training_set import (
    History,
    TrainingSet,
    log_training_set,
    recorded_training_set,
)

LAKE = cast("Lakehouse", SimpleNamespace(version={"silver.a": 7, "silver.b": 8}.__getitem__))


def history(table: str, version: int | None) -> History:
    names: dict[str, Any] = {"keys": ("k",), "label_timestamp": "at", "event_time": "since"}
    return History(table=table, version=version, **names)


def test_every_table_without_a_version_is_pinned(tmp_path: Path) -> None:
    wanted = TrainingSet(
        labels="silver.a",
        history_tables=(history("silver.a", 3), history("silver.b", None), history("silver.b", 2)),
    )
    pinned = wanted.pinned(LAKE)
    assert pinned.labels_version == 7
    assert [each.version for each in pinned.history_tables] == [3, 8, 2]
    assert pinned.pinned(LAKE) == pinned
    tracker = tracker_in(tmp_path)
    with tracker.run("train") as run:
        log_training_set(run, pinned)
    found = mlflow.MlflowClient().get_run(run.run_id)
    assert found.data.params == {"silver.a.version": "3, 7", "silver.b.version": "2, 8"}
    assert len(found.inputs.dataset_inputs) == 4
    assert recorded_training_set(tracker, run.run_id) == pinned
