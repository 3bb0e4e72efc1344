"""Rows of a stream table that others removed, and commits of matchlake that are told apart."""

import json
from pathlib import Path

import pytest
from pyspark.sql import SparkSession
from tests.support.committed import ingest_in, offsets, prepared, write

from matchlake.errors import CheckpointMismatchError
from matchlake.ingest.streams.replay import Replay
from matchlake.io import commit_metadata

CHANGES = {
    "DELETE": "DELETE FROM {table} WHERE offset = 1",
    "MERGE": "MERGE INTO {table} t USING (SELECT 1L AS o) s ON t.offset = s.o"
    " WHEN MATCHED THEN DELETE",
}


@pytest.mark.soak
@pytest.mark.parametrize("operation", ["DELETE", "MERGE"])
def test_rows_that_others_removed_stop_the_stream(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, operation: str
) -> None:
    name = f"removed_{operation.lower()}"
    at = ingest_in(spark, tmp_path, name)
    stream = prepared(at, monkeypatch)
    write(stream, 0, 4)
    table = at.lakehouse.name(at.stream.table)
    spark.sql(f"UPDATE {table} SET rating = 2 WHERE offset = 0")
    write(prepared(at, monkeypatch), 1, 6)
    spark.sql(CHANGES[operation].format(table=table))
    changed = rf"was changed by {operation} \(version \d+"
    with pytest.raises(CheckpointMismatchError, match=f"{changed}.* while it was written to"):
        write(stream, 2, 8)
    with pytest.raises(CheckpointMismatchError, match=f"{changed}.* after its last batch"):
        prepared(at, monkeypatch)
    back = prepared(at, monkeypatch, rewind_to={name: 1})  # deletes rows itself
    write(back, 0, 8, checkpoint="c2")
    write(prepared(at, monkeypatch), 1, 9, checkpoint="c2")
    assert offsets(at) == [0, 2, 3, 4, 5, 6, 7, 8]


@pytest.mark.soak
def test_a_table_that_forgets_its_batches_is_refused(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = ingest_in(spark, tmp_path, "forgets")
    write(prepared(at, monkeypatch), 0, 4)
    table, key = at.lakehouse.name(at.stream.table), "delta.setTransactionRetentionDuration"
    spark.sql(f"ALTER TABLE {table} SET TBLPROPERTIES ('{key}' = 'interval 7 days')")
    for option in ({}, {"accept_data_loss": ("forgets",)}):
        with pytest.raises(
            CheckpointMismatchError, match=rf"{key} = 'interval 7 days'.*Remove it: ALTER"
        ):
            prepared(at, monkeypatch, **option)
    spark.sql(f"ALTER TABLE {table} UNSET TBLPROPERTIES ('{key}')")
    prepared(at, monkeypatch)


@pytest.mark.soak
@pytest.mark.parametrize("settings", ["taken", "refused"])
def test_a_replay_notes_its_fix_and_does_not_stop_the_stream(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: str
) -> None:
    at = ingest_in(spark, tmp_path, f"fixed_{settings}")
    write(prepared(at, monkeypatch), 0, 3, bad={1: b"BROKEN"})
    if settings == "refused":
        refused = commit_metadata.temporary_settings.__globals__["contextmanager"]
        monkeypatch.setattr(
            commit_metadata, "temporary_settings", refused(lambda *_: iter([False]))
        )
    fix = """'{"user_id": "a", "item_id": "b", "rating": 1, "event_time": "2024-05-01"}'"""
    assert Replay(at.stream, at.lakehouse, fix=fix).run(at.batch_log) == (1, 1)
    history = spark.sql(f"DESCRIBE HISTORY {at.lakehouse.name(at.stream.table)} LIMIT 1")
    (noted,) = history.collect()
    step = json.loads(noted.userMetadata)["matchlake_step"]
    expected = {"name": "replay_quarantine", "error_codes": [], "since": None, "fix": fix}
    assert step == expected
    assert noted.operation == ("MERGE" if settings == "taken" else "WRITE")
    write(prepared(at, monkeypatch), 1, 5)
    assert offsets(at) == [0, 1, 2, 3, 4]
