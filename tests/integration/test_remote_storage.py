"""A remote filesystem for real: Delta commits, checkpoints and lake files on HDFS."""

import json
import runpy
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from pyspark.sql import SparkSession
from tests.support.hdfs import running_hdfs
from tests.support.programs import shell_environment
from tests.support.sources import ROOT
from tests.support.streams import produce, runtime_in, stream_entry, with_ingest

from matchlake.dev.sandbox.topics import create_topic
from matchlake.ingest.streams.checkpoint import Checkpoint

pytestmark = [pytest.mark.soak, pytest.mark.local_only, pytest.mark.timeout(900)]

COMMITS = 25
# The product's own session and append, in a process of its own.
WRITER = """
import sys
from matchlake.config import load_config
from matchlake.io.delta import Lakehouse
from matchlake.runtime import spark_session
from matchlake.schemas import Column, TableSpec
place, name, commits, conf = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
from pathlib import Path
config = load_config("demo", ["spark={spark.master: 'local[1]'}"], Path(conf))
spark = spark_session(config, name)
spark.conf.set("spark.databricks.delta.commitInfo.userMetadata", name)
spark.sql("CREATE SCHEMA IF NOT EXISTS far")
spark.sql(f"CREATE TABLE IF NOT EXISTS far.events (writer STRING, n INT) USING DELTA "
          f"LOCATION '{place}'")
columns = (Column("writer", "STRING", ""), Column("n", "INT", ""))
spec = TableSpec("far.events", "", columns, user_columns=())
lake = Lakehouse(spark, None, None)
print("ready", flush=True)
sys.stdin.readline()
for n in range(commits):
    lake.append(spark.createDataFrame([(name, n)], "writer string, n int"), spec)
print("done", flush=True)
spark.stop()
"""


@pytest.fixture(scope="module")
def hdfs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running_hdfs(tmp_path_factory.mktemp("hdfs")) as address:
        yield address


def test_two_writers_at_once_lose_and_double_no_commit(
    spark: SparkSession, hdfs: str, tmp_path: Path
) -> None:
    place = f"{hdfs}/tables/events"
    frame = spark.createDataFrame([], "writer string, n int")
    frame.write.format("delta").save(place)
    writers = []
    for name in ("left", "right"):
        (tmp_path / name).mkdir()
        command = [sys.executable, "-c", WRITER, place, name, str(COMMITS), str(ROOT / "conf")]
        writers.append(
            subprocess.Popen(
                command,
                cwd=tmp_path / name,
                env=shell_environment(),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        )
    for writer in writers:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write("go\n")
        writer.stdin.flush()
    for writer in writers:
        assert writer.communicate(timeout=600)[0] == "done\n"
        assert writer.returncode == 0

    found = spark.read.format("delta").load(place)
    rows = sorted((row.writer, row.n) for row in found.collect())
    assert rows == [(name, n) for name in ("left", "right") for n in range(COMMITS)]
    history = spark.sql(f"DESCRIBE HISTORY delta.`{place}`").orderBy("version").collect()
    assert [row.version for row in history] == list(range(2 * COMMITS + 1))
    order = [row.userMetadata for row in history[1:]]
    assert (order.count("left"), order.count("right")) == (COMMITS, COMMITS)
    assert any(a != b for a, b in pairwise(order)), "they wrote at the same time"


def test_a_stream_keeps_its_checkpoint_there(
    spark: SparkSession, hdfs: str, tmp_path: Path, broker: str
) -> None:
    create_topic(broker, "far", 2)
    runtime = runtime_in(
        spark,
        tmp_path,
        checkpoints=f"{hdfs}/checkpoints",
        kafka={"bootstrap_servers": broker},
        streams={"far": stream_entry("far", "far")},
    )
    event = {"user_id": "u", "item_id": "i", "rating": 3, "event_time": "2024-05-01T10:00:00Z"}
    ingest = runpy.run_path("jobs/ingest_events.py")["run"]
    for part in (0, 1, 0):
        produce(broker, "far", [json.dumps(event).encode()] * 5, part)
        ingest(runtime)
    assert runtime.lakehouse.read("far.valid").count() == 15
    for generation in (1, 2):
        produce(broker, "far", [json.dumps(event).encode()] * 5, 1)
        ingest(with_ingest(runtime, accept_data_loss=("far",)))
        assert Checkpoint(spark, f"{hdfs}/checkpoints/far", "far").newest().generation == generation
    assert runtime.lakehouse.read("far.valid").count() == 25


def test_lake_files_are_read_from_there(spark: SparkSession, hdfs: str, tmp_path: Path) -> None:
    rows = [json.dumps({"k": "a", "v": 1}), json.dumps({"k": "b", "v": 2})]
    spark.createDataFrame([(row,) for row in rows], "value string").coalesce(1).write.text(
        f"{hdfs}/lake/things"
    )
    columns = {"k": {"type": "string", "comment": "k"}, "v": {"type": "int", "comment": "v"}}
    source = {"path": "things/*.txt", "format": "json", "table": "far.things", "comment": "t"}
    source |= {"keys": ["k"], "columns": columns}  # type: ignore[dict-item]
    lake = {"folder": f"{hdfs}/lake", "sources": {"things": source}, "quarantine": "far.bad"}
    runtime = runtime_in(spark, tmp_path, lake=lake)
    runpy.run_path("jobs/load_lake.py")["run"](runtime)
    found = runtime.lakehouse.read("far.things").select("k", "v").collect()
    assert sorted(map(tuple, found)) == [("a", 1), ("b", 2)]
