"""Jobs on clusters of several processes: code, packages and results cross their boundaries."""

import json
import re
import shutil
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from time import monotonic, sleep

import pyspark
import pytest
from pyspark.sql import SparkSession
from tests.support.lakes import forget_tables, small_lake
from tests.support.programs import CONF, JOBS, run_program, running_program

from matchlake.sandbox.process import choose_port

# Every executor is there before the first task is given out, so that each gets some.
SUBMIT = ["--conf", "spark.scheduler.minRegisteredResourcesRatio=1.0", "--driver-memory", "1g"]
# Short-lived JVMs: the quick compiler alone takes half the time.
SUBMIT += ["--driver-java-options", "-XX:TieredStopAtLevel=1"]
SUBMIT += ["--conf", "spark.executor.extraJavaOptions=-XX:TieredStopAtLevel=1"]
QUICK = ["--set", "train.als.iterations=2", "--set", "train.als.rank=4"]
SPREAD = re.compile(r"tasks ran on 2 executor\(s\): executor 0: (\d+), executor 1: (\d+)")


@pytest.fixture(scope="module")
def lake(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("cluster")
    small_lake(spark, folder)
    forget_tables(spark)
    yield folder
    # A local cluster keeps its executors' folders below Spark's own.
    shutil.rmtree(Path(pyspark.__file__).parent / "work", ignore_errors=True)


def submit(job: str, master: str, lake: Path, *more: str) -> str:
    """Submits a job as the README says; returns its log, in which both executors must stand."""
    options = ["--env", "local", *CONF, "--set", f"lakehouse={lake}", *more]
    script = str(JOBS / f"{job}.py")
    done = run_program("spark-submit", "--master", master, *SUBMIT, script, *options, cwd=lake)
    # spark-submit hands on what Python writes to stderr by its stdout.
    log = done.stdout + done.stderr
    assert done.returncode == 0, log[-4000:]
    assert f"master {master}" in log
    spread = SPREAD.search(log)
    assert spread, log[-4000:]
    assert all(int(count) > 0 for count in spread.groups())
    assert "Traceback" not in log
    return log


@pytest.mark.timeout(900)
def test_a_local_cluster_trains(lake: Path) -> None:
    log = submit("train_recommender", "local-cluster[2,1,1024]", lake, *QUICK)
    assert "version 1 is champion" in log


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
    assert "180 recommendations for 60 users by version" in log


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
