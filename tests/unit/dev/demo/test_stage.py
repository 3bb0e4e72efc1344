"""The lines of a demo, and what becomes of one that cannot run or is interrupted."""

import io
import os
import signal
import threading
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from matchlake.cli.main import app
from matchlake.dev.demo import stage
from matchlake.dev.demo.stage import on_stage
from matchlake.dev.demo.steps import Steps
from matchlake.errors import SandboxError
from matchlake.io import java


@pytest.fixture(autouse=True)
def _nothing_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage, "stop_sandbox", lambda _: True)
    monkeypatch.setattr(stage, "stop_session", lambda: None)  # that of other tests


def test_each_step_is_one_line_with_its_time_and_rows() -> None:
    out = io.StringIO()
    steps = Steps(Console(file=out, width=100), 2)
    with steps.step("job load_lake") as step:
        step.note = "bronze.users 944, bronze.items 1,682"
    with steps.step("job recommend") as step:
        step.note = "gold.recommendations 18,860"
    first, second = out.getvalue().splitlines()
    assert first.split() == [
        *("1/2", "job", "load_lake", "0.0", "s"),
        *("bronze.users", "944,", "bronze.items", "1,682"),
    ]
    assert second.startswith("  2/2 job recommend ")
    assert list(steps.seconds) == ["job load_lake", "job recommend"]


def test_two_demos_at_once_are_refused(tmp_path: Path) -> None:
    with (
        on_stage(tmp_path),
        pytest.raises(SandboxError, match=r"Another demo runs in .*: wait for its end"),
        on_stage(tmp_path),
    ):
        pytest.fail("the second one runs")


def test_without_a_java_or_with_an_old_one_nothing_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(java, "find_java", lambda: None)
    with pytest.raises(SandboxError, match="No Java was found"), on_stage(tmp_path):
        pytest.fail("it runs")
    monkeypatch.setattr(java, "find_java", lambda: "/opt/java")
    monkeypatch.setattr(java, "java_version", lambda _: 11)
    with pytest.raises(SandboxError, match=r"is Java 11, and Spark 4 needs"), on_stage(tmp_path):
        pytest.fail("it runs")
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_one_sentence(tmp_path: Path) -> None:
    error = OSError("org.apache.spark.SparkException: java.io.IOException: No space left on device")
    with pytest.raises(SandboxError, match=r"The disk of .* is full: free"), on_stage(tmp_path):
        raise error


def test_ctrl_c_ends_with_one_sentence_and_130(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(*_: object, **__: object) -> None:
        threading.Timer(0.1, os.kill, [os.getpid(), signal.SIGINT]).start()
        threading.Event().wait(10)

    monkeypatch.setattr("matchlake.dev.demo.movielens.run_movielens", run)
    numbers = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
    before = {each: signal.getsignal(each) for each in numbers}
    # A shell starts its background jobs with SIGINT ignored, which Python keeps.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        done = CliRunner().invoke(app, ["demo"])
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
    assert done.exit_code == 130
    assert done.output == (
        "Interrupted; nothing is left running. The same command continues the demo.\n"
    )
