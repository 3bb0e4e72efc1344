"""The job stopped at named points, and woken after a recovery option was used: it is refused.

`SIGSTOP` is what a paused machine, a partition of the network and a long collection of garbage
look like: the run does not know that time has passed.
"""

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pyspark.sql import SparkSession
from tests.integration.test_ingest_killed import fill, finish, job, settings
from tests.support.killed_ingest import POINTS

RECORDS = 2_000
WAYS = (
    "accept_data_loss=[rating_events]",
    "rewind_to={rating_events: 1}",
    "reset_checkpoint=[rating_events]",
)
SIX = [point for point in POINTS if point != "after the batch log"]
JOB = ["jobs/ingest_events.py"]


@contextmanager
def stalled(
    point: str, after: int, folder: Path, topic: str, arguments: list[str]
) -> Iterator[subprocess.Popen[str]]:
    """A run that has stopped at the point, after it has passed it that often before."""
    table = folder / "warehouse" / topic / "events"
    program = ["-m", "tests.support.killed_ingest", "SIGSTOP", point, str(after), str(table)]
    with (folder / f"{after}.log").open("w") as log:
        run = subprocess.Popen(
            job(program, arguments), stderr=log, text=True, start_new_session=True
        )
    try:
        _, status = os.waitpid(run.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status), (folder / f"{after}.log").read_text()[-3000:]
        yield run
    finally:
        if run.poll() is None:
            os.killpg(run.pid, signal.SIGKILL)
            run.wait()


def woken(run: subprocess.Popen[str], after: int, folder: Path) -> str:
    """What it says of its end after it was woken, which has to be that it is a stale run."""
    os.killpg(run.pid, signal.SIGCONT)
    code = run.wait(timeout=240)
    told = (folder / f"{after}.log").read_text()
    assert (code, "this is a stale run" in told) == (1, True), told[-5000:]
    return next(line for line in told.splitlines() if "this is a stale run" in line)


def run_once(arguments: list[str]) -> None:
    done = subprocess.run(job(JOB, arguments), check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-5000:]


def empty(spark: SparkSession, folder: Path, topic: str) -> None:
    """Takes all rows out, as `--reset-checkpoint` asks for."""
    table = folder / "warehouse" / topic / "events"
    if (table / "_delta_log").exists():
        spark.sql(f"DELETE FROM delta.`{table}`")


@pytest.mark.soak
@pytest.mark.timeout(600)
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("point", SIX)
def test_a_stale_run_is_refused_by_name_at_every_point(
    spark: SparkSession,
    tmp_path: Path,
    broker: str,
    tell: Callable[[str], None],
    point: str,
    way: str,
) -> None:
    topic = f"stalled_{SIX.index(point)}_{way.split('=', maxsplit=1)[0]}"
    fill(broker, topic, RECORDS)
    arguments = settings(tmp_path, broker, topic, 400)
    with stalled(point, 1, tmp_path, topic, arguments) as run:
        if way.startswith("reset_checkpoint"):
            empty(spark, tmp_path, topic)
        run_once([*arguments, f"ingest.{way}"])
        refused = woken(run, 1, tmp_path)
    told = finish(spark, tmp_path, arguments, RECORDS)
    tell(f"stalled {point}, {way}: {told}; {refused[-330:]}")


@pytest.mark.soak
@pytest.mark.timeout(900)
@pytest.mark.parametrize(("first", "second"), [("offsets logged", "files written"), SIX[1:3]])
def test_two_stale_runs_are_refused_by_name(
    spark: SparkSession,
    tmp_path: Path,
    broker: str,
    tell: Callable[[str], None],
    first: str,
    second: str,
) -> None:
    """The second run stalls in the recovery from the first, before any batch."""
    topic = f"twice_{SIX.index(first)}"
    fill(broker, topic, RECORDS)
    arguments = settings(tmp_path, broker, topic, 400)
    rewinding = [*arguments, f"ingest.{WAYS[1]}"]
    with (
        stalled(first, 1, tmp_path, topic, arguments) as one,
        stalled(second, 0, tmp_path, topic, rewinding) as two,
    ):
        run_once([*arguments, f"ingest.{WAYS[0]}"])
        refused = [woken(one, 1, tmp_path), woken(two, 0, tmp_path)]
    told = finish(spark, tmp_path, arguments, RECORDS)
    tell(f"stalled {first}, then {second}: {told}; {len(refused)} stale runs refused")
