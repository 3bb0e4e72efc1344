"""Child runs: complete or not there, also after a crash and under another parent."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import mlflow
import pytest

from matchlake.io.mlflow_children import Child
from matchlake.io.mlflow_tracking import Tracker
from matchlake.io.params import TrackingParams

BEGAN = datetime(2026, 5, 1, 10, 0, tzinfo=UTC)


def child(name: str, **more: Any) -> Child:
    return Child(name, BEGAN, 2.5, {"rank": "8", "long": "x" * 9000}, **more)


def test_children_are_logged_completely_or_not_at_all(tmp_path: Path) -> None:
    tracker = Tracker(TrackingParams(), str(tmp_path))
    with tracker.run("first") as run:
        children = run.children("s1")
        children.log(
            child("trial 0", metrics={"rmse": 0.5}, steps={"progress": ((1, 0.9), (2, 0.7))})
        )
        children.log(child("trial 1", failure="ValueError: no memory", tags={"state": "failed"}))
        run.children("s2").log(child("trial 0"))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(mlflow.MlflowClient, "set_terminated", _dies)
            with pytest.raises(KeyboardInterrupt):
                children.log(child("trial 2"))
    with tracker.run("second") as run:
        again = run.children("s1")
        assert again.finished() == {"trial 0", "trial 1"}
        again.log(child("trial 2"))
        assert again.finished() == {"trial 0", "trial 1", "trial 2"}
        client = mlflow.MlflowClient()
        experiment = client.get_run(run.run_id).info.experiment_id
        found = client.search_runs([experiment], "tags.`matchlake.group` = 's1'")
    assert len(found) == 3
    by_name = {each.data.tags["matchlake.child"]: each for each in found}
    first, failed = by_name["trial 0"], by_name["trial 1"]
    assert first.data.metrics == {"rmse": 0.5, "progress": 0.7}
    assert [each.step for each in client.get_metric_history(first.info.run_id, "progress")] == [
        1,
        2,
    ]
    assert first.data.params["rank"] == "8"
    assert (first.info.end_time - first.info.start_time, first.info.status) == (2500, "FINISHED")
    assert (failed.info.status, failed.data.tags["failure"]) == ("FAILED", "ValueError: no memory")


def _dies(*_: object, **__: object) -> None:
    raise KeyboardInterrupt
