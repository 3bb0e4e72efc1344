"""The rules of a stream: warned, quarantined and refused records, their counts, and a replay."""

from dataclasses import replace
from pathlib import Path

import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from tests.support.committed import ingest_in, messages, prepared, write
from tests.support.streams import valid_value

from matchlake.errors import InputError
from matchlake.ingest.rules import QUARANTINE, WARN
from matchlake.ingest.streams.gaps import no_cause
from matchlake.ingest.streams.messages import parse_messages
from matchlake.ingest.streams.replay import Replay
from matchlake.ingest.tables import stream_table

RULES = {
    "own_item": {"expression": "user_id <> item_id", "action": "quarantine"},
    "high_for_new": {"expression": "rating < 5 OR item_id <> 'new'", "action": "quarantine"},
    "in_time": {"expression": "event_time < kafka_timestamp + INTERVAL 1 DAY", "action": "warn"},
    "share": {"expression": "1 / (rating - 2) < 10", "action": "warn"},
}
KNOWN = {"known": {"expression": "item_id <> 'x'", "action": "quarantine"}}
OWN, NEW = (
    valid_value(1, user_id="x", item_id="x", rating=5),
    valid_value(2, item_id="new", rating=5),
)
LATE = valid_value(3, event_time="2030-01-01T00:00:00Z", rating=2.05)
ZERO, NULL = valid_value(4, rating=2), valid_value(5, rating=5, user_id=None)


def test_records_that_break_a_rule_keep_their_bytes(spark: SparkSession, tmp_path: Path) -> None:
    """A division by zero is null and passes; a null of an optional column, too."""
    columns = {
        "user_id": {"type": "string", "required": False, "comment": "u"},
        "item_id": {"type": "string", "comment": "i"},
        "rating": {"type": "double", "comment": "r"},
        "event_time": {"type": "timestamp", "comment": "t"},
    }
    at = ingest_in(spark, tmp_path, "ruled", rules=RULES, columns=columns)
    values = [valid_value(0), OWN, NEW, LATE, ZERO, NULL, b"{"]
    parsed = parse_messages(messages(at, list(enumerate(values))), at.stream, batch=(1, 1))
    assert parsed.columns == stream_table(at.stream).column_names
    rows = parsed.orderBy("offset").collect()
    broken = "broken_rule"
    codes = [None, broken, broken, None, None, None, "malformed_json"]
    assert [row["_error_code"] for row in rows] == codes
    assert rows[1]["_error_message"] == "own_item: user_id <> item_id is false"
    assert rows[2]["_error_message"] == "high_for_new: rating < 5 OR item_id <> 'new' is false"
    for row, value in list(zip(rows, values, strict=True))[1:3]:
        declared = [row[name] for name in (*columns, "_warnings")]
        assert (row["_status"], declared) == ("quarantined", [None] * 5)
        assert bytes(row.raw.value) == value
    for row, warnings in zip(rows[3:6], [["in_time", "share"], None, None], strict=True):
        assert (row["_status"], row.raw, row["_warnings"]) == ("valid", None, warnings)


@pytest.mark.soak
def test_counts_are_in_the_batch_log_and_a_replay_follows_a_corrected_rule(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = ingest_in(spark, tmp_path, "corrected", rules=RULES)
    write(prepared(at, monkeypatch), 0, 5, bad={1: OWN, 2: NEW, 3: LATE, 4: b"{"})
    at.batch_log.update(no_cause)
    (entry,) = at.batch_log.rows().collect()
    own, late, share = ("own_item", QUARANTINE, 1), ("in_time", WARN, 1), ("share", WARN, 1)
    counts = [("high_for_new", QUARANTINE, 1), late, own, share]
    assert list(map(tuple, entry.rules)) == counts
    assert list(map(tuple, entry.error_codes)) == [("broken_rule", 2), ("malformed_json", 1)]
    at.batch_log.update(no_cause, rebuild=True)
    assert at.batch_log.rows().collect()[0].rules == entry.rules

    # What breaks another rule stays quarantined, and the batch log is counted again.
    rules = {name: at.stream.rules[name] for name in ("own_item", "in_time")}
    stream = at.stream.model_copy(update={"rules": rules})
    done = Replay(stream, at.lakehouse).run(replace(at.batch_log, stream=stream))
    assert done == (3, 1)
    assert at.lakehouse.read(at.stream.table).where("offset = 2").collect()[0].rating == 5
    (entry,) = at.batch_log.rows().collect()
    assert list(map(tuple, entry.rules)) == [late, own, share]


@pytest.mark.soak
def test_a_broken_rule_that_fails_writes_nothing(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rules = {
        "other": {"expression": "rating = 0", "action": "quarantine"},
        "own_item": {"expression": "user_id <> item_id", "action": "fail"},
    }
    at = ingest_in(spark, tmp_path, "failing", rules=rules)
    start = prepared(at, monkeypatch)
    message = (
        "failing, failing.events: 2 row.s. break rule own_item, user_id <> item_id .one: topic "
        "failing, partition 0, offset 1.. Its action is fail, so nothing of batch 0 was written"
    )
    with pytest.raises(InputError, match=message):
        write(start, 0, 4, bad={1: OWN, 3: OWN})
    assert at.lakehouse.read(at.stream.table).isEmpty()


def test_a_record_of_an_erased_user_is_not_quarantined_with_its_bytes(
    spark: SparkSession, tmp_path: Path
) -> None:
    rules = {"own_item": {"expression": "user_id <> item_id", "action": "quarantine"}}
    at = ingest_in(spark, tmp_path, "erasing", rules=rules)

    def emptied(rows: DataFrame) -> DataFrame:
        is_erased = F.col("user_id") == "x"
        return rows.withColumns(
            {
                "_status": F.when(is_erased, "erased").otherwise(F.col("_status")),
                "raw": F.when(~is_erased, F.col("raw")),
            }
        )

    found = messages(at, [(0, OWN), (1, OWN.replace(b'"x"', b'"y"'))])
    rows = parse_messages(found, at.stream, batch=(1, 1), emptied=emptied).orderBy("offset")
    first, second = rows.select("_status", "raw.value").collect()
    assert (first[0], first[1], second[0]) == ("erased", None, "quarantined")
    assert b'"y"' in second[1]


def test_a_delete_obeys_every_rule(spark: SparkSession, tmp_path: Path) -> None:
    """Its columns are null but for the key, and without it the row would stay in silver."""
    keys = {"change_data": "tombstones", "key_columns": ["item_id"], "rules": KNOWN}
    at = ingest_in(spark, tmp_path, "deleting", **keys)
    found = messages(at, [(0, OWN), (1, None)]).withColumn("key", F.lit(b"x"))
    rows = parse_messages(found, at.stream, batch=(1, 1)).orderBy("offset").collect()
    assert [(row["_operation"], row["_error_code"]) for row in rows] == [
        (None, "broken_rule"),
        ("delete", None),
    ]
