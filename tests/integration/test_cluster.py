"""Jobs on clusters of several processes: code, packages and results cross their boundaries."""

import json
import os
import re
import shutil
import signal
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import psutil
import pyspark
import pytest
from pyspark.sql import SparkSession
from tests.support.jvm import QUICK_JVM
from tests.support.lakes import forget_tables, small_lake
from tests.support.programs import CONF, JOBS, run_program, running_program
from tests.support.sources import ROOT

from matchlake.config import load_config
from matchlake.io.ports import choose_port
from matchlake.recommender.als.fit import fit_als
from matchlake.recommender.progress import Progress
from matchlake.recommender.split import split
from matchlake.training.steps import with_weight

# Every executor is there before the first task is given out, so that each gets some.
SUBMIT = ["--conf", "spark.scheduler.minRegisteredResourcesRatio=1.0", "--driver-memory", "1g"]
SUBMIT += ["--driver-java-options", QUICK_JVM]
SUBMIT += ["--conf", f"spark.executor.extraJavaOptions={QUICK_JVM}"]
QUICK = ["--set", "train.als.iterations=2", "--set", "train.als.rank=4"]
QUICK += ["--set", "train.require_better_than_baselines=false"]
CLUSTER = "local-cluster[2,1,1024]"
SILVER = "{}/warehouse/silver/interactions"
SPREAD = re.compile(r"tasks ran on 2 executor\(s\): executor 0: (\d+), executor 1: (\d+)")


@pytest.fixture(scope="module")
def lake(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("cluster")
    small_lake(spark, folder)
    forget_tables(spark)
    yield folder
    # A local cluster keeps its executors' folders below Spark's own.
    shutil.rmtree(Path(pyspark.__file__).parent / "work", ignore_errors=True)


def submission(job: str, master: str, lake: Path, *more: str) -> list[str]:
    """The command that submits a job as the README says."""
    places = ["--set", f"lakehouse={lake}", "--set", f"checkpoints={lake}/checkpoints"]
    script = str(JOBS / f"{job}.py")
    options = ["--env", "demo", *CONF, *places, *more]
    return ["spark-submit", "--master", master, *SUBMIT, script, *options]


def submit(job: str, master: str, lake: Path, *more: str) -> str:
    """Submits a job to its end; returns its log, in which both executors must stand."""
    done = run_program(*submission(job, master, lake, *more), cwd=lake)
    # spark-submit hands on what Python writes to stderr by its stdout.
    log = done.stdout + done.stderr
    assert done.returncode == 0, log[-4000:]
    assert f"master {master}" in log
    spread = SPREAD.search(log)
    assert spread, log[-4000:]
    assert all(int(count) > 0 for count in spread.groups())
    assert "Traceback" not in log
    return log


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_a_local_cluster_trains(lake: Path) -> None:
    log = submit("train_recommender", CLUSTER, lake, *QUICK, "--set", "tracking.model=local")
    assert "version 1 is champion" in log


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_training_outlives_an_executor_and_resumes_after_its_driver(
    spark: SparkSession, lake: Path, tmp_path: Path
) -> None:
    blocks = {"execution": "distributed", "checkpoint_interval": 1, "iterations": 6, "rank": 4}
    more = [each for k, v in blocks.items() for each in ("--set", f"train.als.{k}={v}")]
    log = tmp_path / "first.log"
    with running_program(submission("train_recommender", CLUSTER, lake, *more), lake, log) as first:
        wait_for(log, "iteration 1 of 6")
        executors = processes(first, "CoarseGrainedExecutorBackend")
        assert len(executors) == 2
        executors[0].kill()
        wait_for(log, "iteration 4 of 6")
        os.killpg(first.pid, signal.SIGKILL)
    resumed = submit("train_recommender", CLUSTER, lake, *more, "--set", "train.resume=true")
    assert re.search(r"fit resumes from \S+", resumed)
    assert "version 1 is champion" in resumed
    assert not list((lake / "checkpoints" / "train_recommender").iterdir())
    lines = re.findall(r"iteration (\d) of 6: \S+ s, loss (\S+),", resumed)
    assert [int(done) for done, _ in lines[-6:]] == [1, 2, 3, 4, 5, 6]
    at, loss = lines[-7]
    assert int(lines[0][0]) >= 5
    assert int(at) == 6
    assert float(loss) == pytest.approx(undisturbed_loss(spark, lake, blocks), rel=1e-4)


def undisturbed_loss(spark: SparkSession, folder: Path, blocks: dict[str, Any]) -> float:
    """The loss that the job's first fit ends with when it is left alone, in one task."""
    changed = blocks | {"execution": "single_task"}
    keys = [f"train.als.{key}={value}" for key, value in changed.items()]
    config = load_config("demo", [f"lakehouse={folder}", *keys], ROOT / "conf")
    interactions = with_weight(spark.read.format("delta").load(SILVER.format(folder)), config.train)
    told: list[Progress] = []
    train = split(interactions, config.train.split).train
    fit_als(train, config.train.als, callback=told.append)
    return told[-1].loss


def processes(program: subprocess.Popen[bytes], name: str) -> list[psutil.Process]:
    """The Java processes below a program that run the class `name`."""
    found = []
    for process in psutil.Process(program.pid).children(recursive=True):
        with suppress(psutil.Error):
            if process.name() == "java" and any(name in part for part in process.cmdline()):
                found.append(process)
    return found


def wait_for(log: Path, text: str) -> None:
    """Returns once `text` stands in a log."""
    deadline = monotonic() + 240
    while text not in log.read_text():
        assert monotonic() < deadline, log.read_text()[-4000:]
        sleep(0.1)


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_a_standalone_cluster_trains(lake: Path, tmp_path: Path) -> None:
    port, page = choose_port(None), choose_port(None)
    master = f"spark://127.0.0.1:{port}"
    worker = ["org.apache.spark.deploy.worker.Worker", "--cores", "1", "--memory", "1g"]
    worker += ["--work-dir", str(tmp_path / "work"), "--webui-port", "0", master]
    address = ["--host", "127.0.0.1", "--port", str(port), "--webui-port", str(page)]
    with ExitStack() as cluster:
        programs = [["org.apache.spark.deploy.master.Master", *address], worker, worker]
        for at, program in enumerate(programs):
            log = tmp_path / f"{at}.log"
            cluster.enter_context(running_program(["spark-class", *program], tmp_path, log))
        _wait_for_workers(f"http://127.0.0.1:{page}/json/", 2)
        submit("train_recommender", master, lake, *QUICK)
        log = submit("recommend", master, lake, "--set", "recommend.k=3")
    assert "180 rows for 60 users by version" in log


def _wait_for_workers(page: str, wanted: int) -> None:
    deadline = monotonic() + 120
    while True:
        try:
            with urllib.request.urlopen(page, timeout=5) as answer:  # noqa: S310 - our own server
                if json.load(answer)["aliveworkers"] == wanted:
                    return
        except OSError:
            pass  # not up yet
        assert monotonic() < deadline, "the cluster did not come up"
        sleep(0.5)
