"""A registration of a model that is killed between the version and its alias."""

import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.saved_models import register, tracker_in


@pytest.mark.soak
def test_register_killed_before_the_alias_keeps_the_champion(tmp_path: Path) -> None:
    tracker = tracker_in(tmp_path)
    first = register(tracker, tmp_path / "model")
    code = f"""
import mlflow, os, pathlib, signal
import pytest
from tests.support.saved_models import register, tracker_in
kill = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
mlflow.MlflowClient.set_registered_model_alias = kill
register(tracker_in(pathlib.Path({str(tmp_path)!r})), pathlib.Path({str(tmp_path / "second")!r}))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert done.returncode == -9, done.stderr
    assert tracker.champion() == first
    third = register(tracker, tmp_path / "third")
    assert tracker.champion() == third
