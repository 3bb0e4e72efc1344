"""`matchlake models rollback` killed at each step and run again; and two of them at once."""

import subprocess
import sys
from pathlib import Path

import pytest
from pyspark.sql import SparkSession
from tests.support.jvm import QUICK_JVM
from tests.support.killed_rollback import POINTS
from tests.support.lakes import forget_tables, lake_runtime
from tests.support.model_aliases import recommended, rows_of, two_champions
from tests.support.sources import ROOT

from matchlake.runtime import Runtime
from matchlake.schemas import PREDICTED_RATINGS, RECOMMENDATIONS
from matchlake.training.history import ModelHistory

USERS = tuple(f"u{i}" for i in range(200))


def champions(spark: SparkSession, folder: Path) -> Runtime:
    """A lakehouse with two champions below `folder`."""
    forget_tables(spark)
    at = lake_runtime(spark, folder)
    two_champions(at, folder, USERS)
    return at


def command(point: str, folder: Path) -> subprocess.Popen[str]:
    quick = f"spark={{spark.driver.extraJavaOptions: {QUICK_JVM}}}"
    program = [sys.executable, "-m", "tests.support.killed_rollback", point, "recommender", "--yes"]
    return subprocess.Popen(
        [*program, "--set", f"lakehouse={folder}", "--set", quick],
        cwd=ROOT,
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def require_rolled_back(at: Runtime) -> list[str]:
    """Requires the one right state; returns the states of rollbacks in the history."""
    forget_tables(at.spark)
    assert at.tracker.require_champion().version == "1"
    assert rows_of(at.lakehouse, RECOMMENDATIONS) == sorted(recommended("1", USERS))
    assert rows_of(at.lakehouse, PREDICTED_RATINGS) == []
    changes = ModelHistory(at.lakehouse, "recommender").changes()
    return [each.state for each in changes if each.action == "rollback"]


@pytest.mark.soak
@pytest.mark.local_only
@pytest.mark.parametrize("point", POINTS)
def test_a_killed_rollback_is_completed_by_the_same_command(
    spark: SparkSession, tmp_path: Path, point: str
) -> None:
    at = champions(spark, tmp_path)
    killed = command(point, tmp_path)
    output = killed.communicate(timeout=600)[0]
    assert killed.returncode == -9, output[-2000:]
    again = command("never", tmp_path)
    output = again.communicate(timeout=600)[0]
    assert again.returncode == 0, output[-2000:]
    is_new = point == "before the row"
    assert ("was not complete, and is complete now" in output) != is_new
    assert "Version 1 is champion of recommender, in place of version 2." in output
    assert require_rolled_back(at) == ["done"]
    forget_tables(spark)


@pytest.mark.soak
@pytest.mark.local_only
def test_of_two_rollbacks_at_once_one_wins(spark: SparkSession, tmp_path: Path) -> None:
    at = champions(spark, tmp_path)
    both = [command("never", tmp_path) for _ in range(2)]
    outputs = [each.communicate(timeout=600)[0] for each in both]
    told = ("at the same time, and came first", "is complete now", "no earlier champion")
    lost = [any(text in output for text in told) for output in outputs]
    assert sorted(lost) == [False, True], outputs
    assert both[lost.index(False)].returncode == 0
    assert require_rolled_back(at) == ["done"]
    forget_tables(spark)
