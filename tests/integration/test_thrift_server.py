"""Spark's Thrift server as a JDBC client meets it, while a job writes and others read."""

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep

import psutil
import pytest
from pyspark.sql import SparkSession
from tests.support.lakes import forget_tables, small_lake
from tests.support.programs import CONF, run_program, running_program, shell_environment

from matchlake.io.delta import Lakehouse
from matchlake.io.ports import choose_port, is_port_free
from matchlake.schemas import INTERACTIONS, RECOMMENDATIONS, Column, TableSpec

ITEMS = TableSpec(
    "bronze.items",
    "Items",
    (Column("item_id", "STRING", "key"), Column("title", "STRING", "title")),
    user_columns=(),
)
BATCHES, BATCH, BEFORE = 4, 25, 1600


@pytest.fixture
def lake(spark: SparkSession, tmp_path: Path) -> Iterator[Lakehouse]:
    """silver.interactions on disk; this process's session plays the job that writes."""
    made, _ = small_lake(spark, tmp_path / "lake")
    yield made
    forget_tables(spark)


@contextmanager
def serving(folder: Path, *options: str) -> Iterator[str]:
    """`matchlake sql-server`, ended by SIGTERM, after which nothing of it may be left."""
    port, log, work = choose_port(None), folder / "server.log", folder / "work"
    work.mkdir()
    command = ["matchlake", "sql-server", "--allow-root", "--port", str(port), *options]
    command += ["--refresh", "0.5"]
    with running_program(command, work, log) as program:
        wait_until(lambda: "Ctrl-C stops it" in log.read_text() or program.poll() is not None)
        assert program.poll() is None, log.read_text()
        family = psutil.Process(program.pid).children(recursive=True)
        assert family
        yield f"jdbc:hive2://127.0.0.1:{port}/gold"
        program.terminate()
        assert program.wait(60) == 0, log.read_text()
    assert psutil.wait_procs(family, timeout=30)[1] == []
    assert is_port_free(port)
    assert list(work.iterdir()) == [], "nothing is left in the working folder"
    said = log.read_text()
    assert "The SQL server has stopped." in said
    assert "WARN" not in said
    assert "Exception" not in said


def beeline(url: str, query: str, folder: Path) -> list[str]:
    """The lines that beeline prints for `query`, headers first; its errors where it fails."""
    done = run_program(
        *("beeline", "-u", url, "-n", "analyst", "--silent=true", "--outputformat=csv2"),
        *("-e", query),
        cwd=folder,
        # Beeline keeps its history at home.
        environment=shell_environment(HOME=str(folder)),
    )
    # Lines may stand behind its prompt.
    lines = [line.rpartition("/gold> ")[2] for line in done.stdout.splitlines()]
    return [line for line in lines if line] if done.returncode == 0 else [done.stderr]


def wait_until(done: Callable[[], object], seconds: float = 300) -> None:
    deadline = monotonic() + seconds
    while not done():
        assert monotonic() < deadline, "waited in vain"
        sleep(0.2)


def append_batches(lake: Lakehouse) -> None:
    """What a job does meanwhile: a new table, another, and several commits to an old one."""
    spark = lake.spark
    best = [("u1", 1, "i0", 4.5, "7", False), ("u1", 2, "i1", 4.0, "7", False)]
    lake.append(lake.frame(best, RECOMMENDATIONS), RECOMMENDATIONS)
    titles = [("i0", "Amélie 映画"), ("i1", None)]
    lake.append(lake.frame(titles, ITEMS), ITEMS)
    for batch in range(BATCHES):
        rows = f"SELECT concat('new{batch}-', id) AS user_id, 'i0' AS item_id, 1D AS rating"
        lake.append(spark.sql(f"{rows}, now() AS event_time FROM range({BATCH})"), INTERACTIONS)


@pytest.mark.timeout(900)
@pytest.mark.soak
def test_clients_read_while_a_job_writes(lake: Lakehouse, tmp_path: Path) -> None:
    options = [*CONF, "--set", f"lakehouse={tmp_path / 'lake'}"]
    counting = "SELECT count(*) AS n FROM silver.interactions"
    commits = {BEFORE + BATCH * done for done in range(BATCHES + 1)}
    with serving(tmp_path, *options) as url, ThreadPoolExecutor(1) as job:
        assert beeline(url, f"SHOW TABLES IN silver; {counting}", tmp_path) == [
            *("namespace,tableName,isTemporary", "silver,interactions,false", "n", str(BEFORE))
        ]
        writing = job.submit(append_batches, lake)
        meanwhile = beeline(url, f"{counting}; {counting}", tmp_path)
        asked = run_program(
            "matchlake", "sql", counting, "--format", "json", *options, cwd=tmp_path
        )
        writing.result()
        first, second = int(meanwhile[1]), int(meanwhile[3])
        assert first <= second
        assert {first, second, json.loads(asked.stdout)[0]["n"]} <= commits
        # Tables and views that came while the server ran, the short name being of schema gold.
        titled = "SELECT rank, title FROM recommendations_with_titles ORDER BY rank"
        expected = ["rank,title", "1,Amélie 映画", "2,NULL", "n", str(max(commits))]
        wait_until(lambda: beeline(url, f"{titled}; {counting}", tmp_path) == expected)
