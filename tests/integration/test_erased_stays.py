"""A user is erased; then every job runs twice on data that names the user again."""

import json
import runpy
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from pyspark.sql import SparkSession
from tests.support.lakes import forget_tables, lake_runtime
from tests.support.leaks import scan
from tests.support.streams import produce

from matchlake.dev.sandbox.topics import create_topic
from matchlake.ingest.params import EraseParams
from matchlake.io.salt import Salt
from matchlake.lakehouse.user_erasure import ErasureReport, erase_user
from matchlake.runtime import Runtime

USER, TOPIC = "member-4711", "erased-stays"
SETTINGS = (
    f"streams.rating_events.topic={TOPIC}",
    "train.als={feedback: implicit, rank: 4, iterations: 3}",
    "train.split={kind: random, test_fraction: 0.2}",
    "train.require_better_than_baselines=false",
    "lake.reload=[users]",
    "recommend.k=3",
)
BEFORE_TRAINING = ("ingest_events", "load_lake", "build_silver", "build_features", "profile_tables")
TABLES = ("bronze.users", "silver.ratings", "silver.interactions", "gold.user_features")
ANSWERS = ("gold.recommendations", "gold.related_users")


def user(number: int) -> str:
    return USER if number == 7 else f"u{number}"


def events(minute: int, users: range) -> list[bytes]:
    """Each of the users rates two thirds of 20 items."""
    return [
        json.dumps(
            {
                "user_id": user(u),
                "item_id": f"i{i}",
                "rating": 1 + (u * i) % 5,
                "event_time": f"2024-05-01T10:{minute:02d}:{i:02d}Z",
            }
        ).encode()
        for u in users
        for i in range(20)
        if (u + i) % 3
    ]


def run(at: Runtime, *jobs: str) -> None:
    for job in jobs:
        runpy.run_path(f"jobs/{job}.py")["run"](at)


@pytest.fixture
def at(spark: SparkSession, tmp_path: Path, broker: str) -> Iterator[Runtime]:
    """A lakehouse with a champion that knows the user."""
    forget_tables(spark)
    create_topic(broker, TOPIC, 1)
    produce(broker, TOPIC, events(1, range(30)))
    lake = tmp_path / "lake"
    lake.mkdir()
    users = [f"{user(u)},{20 + u},M,writer,1234{u}" for u in range(30)]
    text = "\n".join(["user_id,age,gender,occupation,zip_code", *users])
    (lake / "users1.csv").write_text(text + "\n", encoding="utf-8")
    items = [
        json.dumps({"item_id": f"i{i}", "title": "T", "year": 1990 + i, "genres": ["G"]})
        for i in range(20)
    ]
    (lake / "items1.jsonl").write_text("\n".join(items) + "\n", encoding="utf-8")
    kafka = f"kafka={{bootstrap_servers: '{broker}'}}"
    checkpoints = f"checkpoints={tmp_path}/checkpoints"
    made = lake_runtime(spark, tmp_path, kafka, checkpoints, *SETTINGS)
    runtime = replace(made, lakehouse=replace(made.lakehouse, salt=lambda: Salt(b"some salt")))
    run(runtime, *BEFORE_TRAINING, "train_recommender", "recommend")
    yield runtime
    forget_tables(spark)


def rows_of_user(at: Runtime, tables: tuple[str, ...]) -> dict[str, int]:
    """The rows per table that hold the user in any column."""
    found = {}
    for table in tables:
        rows = at.lakehouse.read(table)
        texts = " OR ".join(f"to_json(struct(`{name}`)) LIKE '%{USER}%'" for name in rows.columns)
        found[table] = rows.where(texts).count()
    return found


def erase(at: Runtime) -> ErasureReport:
    return erase_user(at.config, at.lakehouse, at.tracker, EraseParams(user_id=USER))


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_erased_user_is_written_by_no_job_of_two_runs(at: Runtime, broker: str) -> None:
    every = (*TABLES, *ANSWERS, "bronze.rating_events")
    assert min(rows_of_user(at, every).values()) > 0
    report = erase(at)
    assert sum(table.left for table in report.tables) == 0
    kinds = {place.kind for place in report.places}
    assert kinds - {"table log"} == {"lake file", "MLflow", "model version"}
    assert [version.rpartition("/")[2] for version in report.versions] == ["1"]
    assert "serves one answers for the user" in " ".join(report.remarks)

    produce(broker, TOPIC, events(2, range(4, 12)))
    run(at, *BEFORE_TRAINING, "recommend")
    assert set(rows_of_user(at, every).values()) == {0}, "with the old champion"
    run(at, *BEFORE_TRAINING, "train_recommender", "recommend", "maintain_tables", "reconcile")
    assert set(rows_of_user(at, every).values()) == {0}

    history = [
        str(at.spark.sql(f"DESCRIBE HISTORY {at.lakehouse.name(table)}").collect())
        for table in at.lakehouse.tables()
    ]
    assert not [text for text in history if USER in text]
    warehouse, checkpoints = Path(at.config.warehouse or ""), Path(at.config.checkpoints)
    logs = [path for path in warehouse.rglob("_delta_log/*") if path.is_file()]
    assert scan([warehouse, checkpoints], {"user": USER}, skip=logs).found == {}
    versions = erase(at).versions
    assert [each.rpartition("/")[2] for each in versions] == ["1"], "what the report lists"
