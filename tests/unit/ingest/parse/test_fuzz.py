"""Random changes of good values, in child processes: the crash of a process is a result."""

import json
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.fuzzing import FORMATS
from tests.support.sources import ROOT

MEMORY = 6 * 2**30


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", FORMATS)
def test_no_changed_value_ends_the_process(name: str, seed: int, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.fuzzing", name, str(seed), "10000", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY)),
    )
    assert done.returncode == 0, f"ended with {done.returncode}: {done.stderr[-2000:]}"
    codes = json.loads(done.stdout)
    assert sum(codes.values()) == 5000
    assert len(codes) > 1, "some were changed enough to be rejected"
