"""`erase-user`: one user gone from every table and every file, and the streams still reconcile."""

import dataclasses
import json
import logging
import runpy
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession
from tests.support.lakes import forget_tables
from tests.support.streams import ingest, produce, runtime_in, stream_entry, valid_value

from matchlake.dev.sandbox.topics import create_topic
from matchlake.errors import ReconciliationError
from matchlake.ingest.schema import ERASED
from matchlake.io.salt import Salt
from matchlake.lakehouse.erasure import Erased
from matchlake.lakehouse.table_registry import table_names
from matchlake.lakehouse.user_erasure import user_erasure
from matchlake.lakehouse.user_search import UserSearch
from matchlake.profiling.profile import COLUMN_PROFILES
from matchlake.runtime import Runtime
from matchlake.schemas import RELATED_USERS

clean = runpy.run_path("jobs/build_silver.py")["run"]
load = runpy.run_path("jobs/load_lake.py")["run"]
erase = runpy.run_path("jobs/erase_user.py")["run"]

USER, OTHER = "Zoë-77", "Zoë-777"
USERS = {
    "path": "users*.csv",
    "format": "csv",
    "table": "erased.users",
    "comment": "Users.",
    "keys": ["user_id"],
    "columns": {
        "user_id": {"type": "string", "comment": "u"},
        "age": {"type": "int", "comment": "a"},
    },
}
EVENTS = [
    valid_value(1, user_id=USER),
    valid_value(2, user_id=OTHER),
    json.dumps({"user_id": USER, "rating": 99}).encode(),
    f'{{"rating": 1, "user_id": "{USER}'.encode(),
    json.dumps({"user_id": OTHER, "item_id": f"liked by {USER}"}, ensure_ascii=False).encode(),
    b"",
]


def filled(at: Runtime) -> None:
    """A lakehouse with the user in a stream, in files, in silver, and in tables of gold."""
    lake, folder = at.lakehouse, Path(at.config.lakehouse or "")
    (folder / "lake").mkdir()
    rows = f"user_id,age\n{USER},30\n{OTHER},40\n{USER},old\n"
    (folder / "lake" / "users1.csv").write_text(rows, encoding="utf-8")
    load(at)
    clean(at)
    pairs = [(OTHER, 1, USER, 0.5, "1"), (OTHER, 2, "x", 0.4, "1")]
    bars = [
        ("silver.r", 1, "user_id", "bar", None, None, each, 1, 0.5, None) for each in (USER, OTHER)
    ]
    for spec, values in ((RELATED_USERS, pairs), (COLUMN_PROFILES, bars)):
        lake.append(lake.frame(values, spec), spec)


@pytest.fixture
def at(spark: SparkSession, tmp_path: Path, broker: str) -> Iterator[Runtime]:
    forget_tables(spark)
    create_topic(broker, "erased", 1)
    produce(broker, "erased", EVENTS)
    table = {"stream": "erased", "table": "erased.ratings", "comment": "c", "keys": ["user_id"]}
    runtime = runtime_in(
        spark,
        tmp_path,
        kafka={"bootstrap_servers": broker},
        streams={"erased": stream_entry("erased", "erased")},
        ingest={"batch_log": "erased.batches"},
        lake={"sources": {"users": USERS}, "quarantine": "erased.refused"},
        silver={"tables": {"ratings": table}},
        erase={"salt": {"scope": "s", "key": "k"}},
    )
    lake = dataclasses.replace(runtime.lakehouse, salt=lambda: Salt(b"some salt"))
    runtime = dataclasses.replace(runtime, lakehouse=lake)
    ingest(runtime)
    filled(runtime)
    yield runtime
    forget_tables(spark)


def erased(at: Runtime, tables: list[str]) -> dict[str, Erased]:
    work = user_erasure(at.config, at.lakehouse, USER)
    return {each.table: each for each in work.run(tables)}


def left(at: Runtime) -> list[Path]:
    """The data files that still hold the user, however it is written."""
    marks = [USER, *(str(each)[2:-1] for each in (USER.encode(), json.dumps(USER)[1:-1].encode()))]
    found = []
    for path in Path(at.lakehouse.folder or "").rglob("*.parquet"):
        if path.is_file() and "_delta_log" not in path.parts:
            text = str(pq.ParquetFile(path).read().to_pylist())
            if any(mark in text.replace(f"{mark}7", "") for mark in marks):
                found.append(path)
    return found


@pytest.mark.soak
def test_erase_user_empties_tables_and_files_and_the_stream_reconciles(
    at: Runtime, broker: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert len(left(at)) >= 6
    assert erased(at, table_names(at.lakehouse, at.config)) == {
        "erased.events": Erased("erased.events", 1, 2, unparsed_matches=1),
        "erased.ratings": Erased("erased.ratings", 1),
        "erased.users": Erased("erased.users", 1),
        "erased.refused": Erased("erased.refused", 0, 1),
        RELATED_USERS.name: Erased(RELATED_USERS.name, 1),
        COLUMN_PROFILES.name: Erased(COLUMN_PROFILES.name, 1),
    }
    status = at.lakehouse.read("erased.events").orderBy("offset").select("_status").collect()
    assert [row[0] for row in status] == [
        *(ERASED, "valid", ERASED, ERASED, "quarantined", "quarantined"),
    ]
    assert [path.parent.name for path in left(at)] == ["events"], "the mention"
    places, _ = UserSearch(USER, at.config, at.lakehouse, at.tracker).run()
    named = {Path(place.name).name for place in places if place.kind != "table log"}
    assert named == {"users1.csv", "erased.events.raw"}, "the file, and the mention"

    caplog.set_level(logging.INFO, "matchlake")
    wanted = {"user_id": USER, "include_unparsed_matches": True}
    params = at.config.erase.model_copy(update=wanted)
    with pytest.raises(ReconciliationError, match="The user is still found"):  # in the lake file
        erase(dataclasses.replace(at, config=at.config.model_copy(update={"erase": params})))
    assert "erased.events: 0 rows and 1 quarantined records erased" in caplog.text
    assert USER not in caplog.text.replace(OTHER, "")
    assert left(at) == []
    produce(broker, "erased", [valid_value(3)])
    counts = ingest(at)
    assert (counts.offsets, counts.valid, counts.quarantined, counts.erased) == (7, 2, 1, 4)
    clean(at)
    users = at.lakehouse.read("erased.ratings").select("user_id").collect()
    assert sorted(row[0] for row in users) == [OTHER, "u3"]
