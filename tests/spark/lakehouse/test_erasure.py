"""An erasure beside writers, killed between its steps, and on compute that sets no settings."""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from py4j.protocol import Py4JError
from pyspark.errors import AnalysisException, PySparkException
from pyspark.sql import SparkSession
from tests.support.lakes import forget_tables
from tests.support.leaks import scan

from matchlake.io.delta import Lakehouse
from matchlake.io.delta_properties import read_properties, set_properties
from matchlake.io.erasure_marks import pending_erasure
from matchlake.lakehouse.erasure import Erased, Erasure

RETENTION = "delta.deletedFileRetentionDuration"
CHECK = "spark.databricks.delta.retentionDurationCheck.enabled"
TABLE, NAME = "gold.people", "`gold`.`people`"
USER = "person-4711"
STEPS = ("MERGE", "REORG", "VACUUM", f"ALTER TABLE {NAME} UNSET")


@pytest.fixture
def lake(spark: SparkSession, tmp_path: Path) -> Iterator[Lakehouse]:
    """A table with the user and another, with a change data feed and deletion vectors."""
    forget_tables(spark)
    lake = Lakehouse(spark, folder=str(tmp_path))
    spark.sql("CREATE SCHEMA IF NOT EXISTS gold")
    spark.sql(
        f"CREATE TABLE {lake.name(TABLE)} USING DELTA LOCATION '{lake.path(TABLE)}'"
        " TBLPROPERTIES (delta.enableChangeDataFeed = true, delta.enableDeletionVectors = true)"
        f" AS SELECT explode(array('{USER}', 'other')) AS user_id"
    )
    yield lake
    forget_tables(spark)


def own(lake: Lakehouse) -> dict[str, str]:
    """The table's retention and the marks of erasures."""
    found = read_properties(lake, TABLE)
    return {k: v for k, v in found.items() if k == RETENTION or k.startswith("matchlake.")}


def users(lake: Lakehouse) -> list[str]:
    return sorted(row.user_id for row in lake.read(TABLE).collect())


def files_with_user(lake: Lakehouse) -> set[str]:
    """The table's files that hold the user; the log's statistics of files are left to Delta."""
    place = Path(lake.path(TABLE) or "")
    log = [path for path in (place / "_delta_log").rglob("*") if path.is_file()]
    return scan([place], {"user": USER}, skip=log).found.get("user", set())


class Spied:
    """The session, with something done around its statements that begin with `start`."""

    def __init__(
        self,
        spark: SparkSession,
        start: str,
        before: Callable[[], Any] = int,
        after: Callable[[], Any] = int,
    ) -> None:
        self._spark, self._start = spark, start
        self._around = before, after

    def __getattr__(self, name: str) -> Any:
        return getattr(self._spark, name)

    def sql(self, query: str) -> Any:
        """Runs the statement as the session does."""
        if not query.startswith(self._start):
            return self._spark.sql(query)
        self._around[0]()
        done = self._spark.sql(query)
        self._around[1]()
        return done


def erase(lake: Lakehouse, user: str = USER, spy: Spied | None = None) -> list[Erased]:
    return Erasure(user, [], replace(lake, spark=spy) if spy else lake).run([TABLE])


def die() -> None:
    raise KeyboardInterrupt


class Append:
    """An append with one file written and another held back until it may `commit`."""

    def __init__(self, lake: Lakehouse, folder: Path) -> None:
        self.error: Exception | None = None
        self._go = folder / "go"
        go = str(self._go)

        def slowly(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
            for batch in batches:
                ids = batch.column(0).to_pylist()
                while max(ids) > 4 and not Path(go).exists():
                    time.sleep(0.05)
                yield pa.RecordBatch.from_pydict({"user_id": [f"new{n}" for n in ids]})

        rows = lake.spark.range(0, 8, 1, 2).mapInArrow(slowly, "user_id string")
        place = Path(lake.path(TABLE) or "")
        before = set(place.glob("*.parquet"))

        def write() -> None:
            try:
                rows.write.format("delta").mode("append").saveAsTable(lake.name(TABLE))
            except (PySparkException, Py4JError) as error:
                self.error = error

        self._thread = threading.Thread(target=write)
        self._thread.start()
        while not any(path.stat().st_size for path in set(place.glob("*.parquet")) - before):
            time.sleep(0.05)
        time.sleep(0.5)

    def commit(self) -> None:
        """Lets the append go to its end."""
        self._go.touch()
        self._thread.join()


def test_a_user_is_in_no_file_and_the_retention_was_never_touched(lake: Lakehouse) -> None:
    set_properties(lake, TABLE, {RETENTION: "interval 9 days"})
    assert files_with_user(lake)
    seen: list[str] = []
    look = Spied(lake.spark, "VACUUM", lambda: seen.append(read_properties(lake, TABLE)[RETENTION]))
    (done,) = erase(lake, spy=look)
    assert (done.rows, done.left, done.hours) == (1, 0, 0)
    assert files_with_user(lake) == set()
    assert set(seen) == {"interval 9 days"}
    assert own(lake) == {RETENTION: "interval 9 days"}
    assert lake.spark.conf.get(CHECK, None) is None
    history = lake.spark.sql(f"DESCRIBE HISTORY {lake.name(TABLE)}").collect()
    assert "MERGE" in str(history)
    assert USER not in str(history)


@pytest.mark.soak
@pytest.mark.local_only
def test_an_append_under_way_keeps_its_rows_or_fails(lake: Lakehouse, tmp_path: Path) -> None:
    append = Append(lake, tmp_path)
    erase(lake)
    append.commit()
    assert (append.error is None) == ("new0" in users(lake))
    assert users(lake)[-1] == "other"


@pytest.mark.local_only
@pytest.mark.soak
def test_an_append_that_commits_during_the_erasure_keeps_its_rows(
    lake: Lakehouse, tmp_path: Path
) -> None:
    """It begins after the erasure's last change of the table and ends before the next one."""
    appends: list[Append] = []

    def begin() -> None:
        appends.append(Append(lake, tmp_path))

    def end() -> None:
        appends[0].commit()

    erase(lake, spy=Spied(lake.spark, "VACUUM", begin, end))
    assert appends[0].error is None
    assert users(lake) == [*(f"new{n}" for n in range(8)), "other"]
    assert files_with_user(lake) == set()


@pytest.mark.parametrize(
    "kept",
    [
        pytest.param({}, id="default"),
        pytest.param({RETENTION: "interval 9 days"}, id="own", marks=pytest.mark.soak),
    ],
)
def test_an_erasure_killed_before_any_step_is_completed_by_the_next(
    lake: Lakehouse, kept: dict[str, str]
) -> None:
    if kept:
        set_properties(lake, TABLE, kept)
    for step in STEPS:
        with pytest.raises(KeyboardInterrupt):
            erase(lake, spy=Spied(lake.spark, step, die))
        left = own(lake)
        assert {k: v for k, v in left.items() if k == RETENTION} == kept, step
        assert len(left) == len(kept) + 1, f"the mark, {step}"
        assert USER not in str(left)
        assert "was begun at" in str(pending_erasure(lake, TABLE))
    erase(lake, "other-user")
    assert own(lake) == left, "another user's erasure completes nothing of this one"
    erase(lake)
    assert own(lake) == kept
    assert pending_erasure(lake, TABLE) is None
    assert (users(lake), files_with_user(lake)) == (["other"], set())


@pytest.mark.soak
def test_where_settings_cannot_be_set_old_files_stay_for_their_retention(lake: Lakehouse) -> None:
    class Fixed:
        def set(self, key: str, _: str) -> None:
            raise AnalysisException(f"[CONFIG_NOT_AVAILABLE] {key} is not available.")

        def __getattr__(self, name: str) -> Any:
            return getattr(lake.spark.conf, name)

    serverless = Spied(lake.spark, "VACUUM")
    serverless.conf = Fixed()
    (done,) = erase(lake, spy=serverless)
    assert (done.rows, done.left, done.hours) == (1, 0, 168)
    assert users(lake) == ["other"]
    assert files_with_user(lake)
    assert own(lake) == {}, "nothing is pending: maintain_tables removes the files in time"
    (done,) = erase(lake)
    assert (done.rows, done.hours) == (0, 0)
    assert files_with_user(lake) == set()


@pytest.mark.soak
@pytest.mark.local_only
def test_where_the_log_was_cleaned_old_files_stay_for_their_retention(lake: Lakehouse) -> None:
    for number in range(11):
        lake.spark.sql(f"INSERT INTO {lake.name(TABLE)} VALUES ('more{number}')")
    log = Path(lake.path(TABLE) or "") / "_delta_log"
    for version in range(9):
        (log / f"{version:020}.json").unlink()
    (done,) = erase(lake)
    assert (done.rows, done.left, done.hours) == (1, 0, 168)
    assert own(lake) == {}
