"""`erase-user` killed at named points, and `maintain_tables` then beside a stream."""

import re
import runpy
import subprocess
import sys
import time
from pathlib import Path

import pytest
from pyspark.sql import SparkSession
from tests.support.jvm import QUICK_JVM
from tests.support.killed_erasure import POINTS
from tests.support.lakes import forget_tables, lake_runtime, small_lake
from tests.support.leaks import scan

from matchlake.errors import TableError
from matchlake.io.delta import Lakehouse
from matchlake.io.delta_properties import read_properties, set_properties
from matchlake.io.erasure_marks import pending_erasure
from matchlake.lakehouse.erasure import Erasure
from matchlake.runtime import Runtime

maintain = runpy.run_path("jobs/maintain_tables.py")["run"]

TABLE, USER = "silver.interactions", "person-4711"
RETENTION = {"delta.deletedFileRetentionDuration": "interval 9 days"}


def kill(point: str, folder: Path, table: Path) -> None:
    """Runs the command until it is killed at the point."""
    quick = f"spark={{spark.driver.extraJavaOptions: {QUICK_JVM}}}"
    program = [sys.executable, "-m", "tests.support.killed_erasure", point, str(table), USER]
    done = subprocess.run(
        [*program, "--env", "demo", "--set", f"lakehouse={folder}", "--set", quick],
        input="y\n",
        start_new_session=True,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == -9, done.stderr[-2000:]


def kept(lake: Lakehouse) -> dict[str, str]:
    """The table's properties that say how long files are kept."""
    found = read_properties(lake, TABLE)
    return {key: value for key, value in found.items() if re.search("[Rr]etention|kept", key)}


def beside_a_stream(at: Runtime, folder: Path, pending: str | None) -> int:
    """Maintains the tables while a stream appends each second; how many rows it appended."""
    lake = at.lakehouse
    rows = at.spark.readStream.format("rate").option("rowsPerSecond", 50).load()
    rows = rows.selectExpr(
        "concat('s', value) AS user_id",
        *("'i' AS item_id", "1D AS rating", "timestamp AS event_time"),
    )
    writer = rows.writeStream.format("delta").trigger(processingTime="1 second")
    stream = writer.option("checkpointLocation", str(folder / "stream")).start(lake.path(TABLE))
    try:
        for _ in range(3):
            time.sleep(2)
            if pending:
                with pytest.raises(TableError, match=r"begun at .* complete it: matchlake erase"):
                    maintain(at)
            else:
                maintain(at)
    finally:
        stream.stop()
    assert stream.exception() is None
    added = lake.read(TABLE).where("user_id LIKE 's%'").select("user_id").collect()
    assert sorted(int(row[0][1:]) for row in added) == list(range(len(added)))
    return len(added)


@pytest.mark.soak
@pytest.mark.local_only
@pytest.mark.parametrize("point", POINTS)
def test_no_row_is_lost_after_an_erasure_was_killed(
    spark: SparkSession, tmp_path: Path, point: str
) -> None:
    lake, _ = small_lake(spark, tmp_path)
    others = lake.read(TABLE).count()
    spark.sql(
        f"INSERT INTO {lake.name(TABLE)} (user_id, item_id, rating, event_time)"
        f" SELECT '{USER}', 'i', 1D, timestamp_seconds(0)"
    )
    set_properties(lake, TABLE, RETENTION)
    place = Path(lake.path(TABLE) or "")
    kill(point, tmp_path, place)
    assert kept(lake) == RETENTION
    pending = pending_erasure(lake, TABLE)
    assert (pending is None) == (point == "before the mark")

    at = lake_runtime(spark, tmp_path, "maintain.optimize=false", f"maintain.tables=[{TABLE}]")
    appended = beside_a_stream(at, tmp_path, pending)
    assert appended > 0
    (done,) = Erasure(USER, [], lake).run([TABLE])
    assert (done.left, done.hours) == (0, 0)
    assert lake.read(TABLE).count() == others + appended
    assert kept(lake) == RETENTION
    assert pending_erasure(lake, TABLE) is None
    log = [path for path in (place / "_delta_log").rglob("*") if path.is_file()]
    assert scan([place], {"user": USER}, skip=log).found == {}
    maintain(at)
    forget_tables(spark)
