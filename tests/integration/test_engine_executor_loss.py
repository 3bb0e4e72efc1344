"""A distributed fit survives the loss of an executor: what is lost is computed again."""

import json
from pathlib import Path

import pytest
from tests.support.programs import run_program, shell_environment
from tests.support.sources import ROOT


@pytest.mark.local_only
@pytest.mark.timeout(600)
def test_an_executor_killed_in_mid_fit_changes_nothing(tmp_path: Path) -> None:
    environment = shell_environment(PYTHONPATH=str(ROOT))
    command = ("python", "-m", "tests.support.losing_executor", str(tmp_path / "cuts"))
    done = run_program(*command, cwd=tmp_path, environment=environment)
    assert done.returncode == 0, done.stderr[-4000:]
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["executors"] == 2
    assert told["finished_stages"] >= 4
    assert told["difference"] < 1e-4
    assert "Lost executor" in done.stderr
