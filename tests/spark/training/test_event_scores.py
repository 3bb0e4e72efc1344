"""Events as records with scores: what SQL makes of good, bad and erased ones."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from pyspark.sql import SparkSession
from tests.support.event_models import event, event_model, event_stream, pair_stream
from tests.support.saved_models import saved

from matchlake.errors import ConfigError, SchemaError
from matchlake.formulas.heads import LinearHead
from matchlake.io.salt import Salt
from matchlake.lakehouse.event_streams import erased_keys
from matchlake.model_store.spark import load_model
from matchlake.training.event_params import EventScoring
from matchlake.training.event_scores import RowQuery
from matchlake.training.model_scoring import predictions
from matchlake.training.pair_scores import PairQuery, require_pairs

SCORING = EventScoring(stream="events", model="m", topic="scores")
GOOD = {0: event(0), 1: event(1), 2: event(17, x=0.1), 3: event(3, more=[1])}
BAD = {
    10: (None, "tombstone"),
    11: (b"", "malformed_json"),
    12: (b"{not json", "malformed_json"),
    13: (b'{"user_id": "u", "x": "many"}', "malformed_json"),
    14: (b'{"x": 1}', "null_field: user_id"),
    15: (event(4, x=1001), "out_of_range: x"),
    16: (event(5, city="Paris"), "not_allowed: city"),
    17: (event(6, x=None), "f: "),
    18: (b"\xff\xfe", "malformed_json"),
}
GONE = {20: event(7, user_id="gone"), 21: b'{"user_id": 4711, "x": 2}'}


@pytest.fixture(scope="module")
def records(spark: SparkSession) -> dict[str, list[dict[str, Any]]]:
    """The records of all events, without and with a topic of dead letters."""
    values = GOOD | {offset: value for offset, (value, _) in BAD.items()} | GONE
    rows = [(f"k{o}".encode(), v, "events", 1, o) for o, v in values.items()]
    messages = spark.createDataFrame(
        rows, "key binary, value binary, topic string, partition int, offset long"
    ).selectExpr("*", "timestamp_millis(1714557600123) AS timestamp")
    salt = Salt(b"a salt that is longer than one block of the hash function, which has 64 bytes")
    erased = erased_keys(spark, salt, [salt.hash("gone"), salt.hash("4711"), salt.hash("other")])
    found = {}
    for name, letters in (("all", None), ("letters", "dead")):
        params = SCORING.model_copy(update={"dead_letter_topic": letters})
        query = RowQuery(params, event_stream(), event_model(), "7")
        found[name] = [
            row.asDict(recursive=True) for row in query.records(messages, erased).collect()
        ]
    frame = spark.createDataFrame([("a", n / 10) for n in (0, 1, 3)], "user_id string, x double")
    scored = predictions(event_model(), frame, "t", "7").collect()
    found["table"] = [{"prediction": row.prediction} for row in scored]
    return found


def test_every_event_becomes_one_record_with_its_position(records: dict[str, Any]) -> None:
    values = [json.loads(each["value"]) for each in records["all"]]
    assert {each["topic"] for each in records["all"]} == {"scores"}
    assert [each["source_offset"] for each in values] == [*GOOD, *BAD, *GONE]
    first = values[0]
    assert first == {
        "source_topic": "events",
        "source_partition": 1,
        "source_offset": 0,
        "source_timestamp": 1714557600123,
        "model": "m",
        "model_version": "7",
        "user_id": "u0",
        "prediction": 1.0,
        "refusal": None,
    }
    assert records["all"][0]["key"] == b"k0"


def test_scores_equal_those_of_a_table_to_the_bit(records: dict[str, Any]) -> None:
    by_offset = {v["source_offset"]: v for v in (json.loads(r["value"]) for r in records["all"])}
    table = [each["prediction"] for each in records["table"]]
    assert [by_offset[0]["prediction"], by_offset[1]["prediction"]] == table[:2]
    assert by_offset[3]["prediction"] == table[2]
    assert by_offset[2]["prediction"] == by_offset[1]["prediction"]


def test_events_without_a_score_say_why(records: dict[str, Any]) -> None:
    by_offset = {v["source_offset"]: v for v in (json.loads(r["value"]) for r in records["all"])}
    for offset, (_, reason) in BAD.items():
        value = by_offset[offset]
        assert value["refusal"].startswith(reason), (offset, value)
        assert (value["prediction"], value["user_id"]) == (None, None)


def test_erased_users_have_no_score_and_are_not_named(records: dict[str, Any]) -> None:
    for name in ("all", "letters"):
        told = [each for each in records[name] if b"gone" in each["value"]] if name == "all" else []
        assert told == []
    gone = [r for r in records["letters"] if _header(r, "refusal") == b"the user was erased"]
    assert [_header(each, "source_offset") for each in gone] == [b"20", b"21"]
    assert [(each["key"], each["value"]) for each in gone] == [(None, None)] * 2


def test_dead_letters_are_as_received_unless_they_may_name_an_erased_user(
    records: dict[str, Any],
) -> None:
    letters = {int(_header(r, "source_offset") or 0): r for r in records["letters"] if r["headers"]}
    assert sorted(letters) == [*BAD, *GONE]
    assert {each["topic"] for each in letters.values()} == {"dead"}
    assert (letters[15]["key"], letters[15]["value"]) == (b"k15", BAD[15][0])
    assert (letters[12]["key"], letters[12]["value"]) == (None, None)
    scored = [each for each in records["letters"] if not each["headers"]]
    assert {each["topic"] for each in scored} == {"scores"}


def _header(record: dict[str, Any], name: str) -> bytes | None:
    found = [each["value"] for each in record["headers"] or () if each["key"] == name]
    return bytes(found[0]) if found else None


def test_what_needs_python_is_named() -> None:
    large = LinearHead(
        columns=("f",), labels=tuple(map(str, range(1200))), link="softmax",
        weights=((1.0,),) * 1200, intercepts=(0.0,) * 1200,
    )  # fmt: skip
    model = event_model().model_copy(update={"head": large, "task": "classification"})
    assert "has no SQL" in str(RowQuery(SCORING, event_stream(), model, "1").python_reason())
    csv = event_stream(format="csv", columns={"user_id": {"type": "string", "comment": "u"}})
    assert (
        RowQuery(SCORING, csv, event_model(), "1").python_reason()
        == "the format csv is read by Python"
    )
    ruled = event_stream(rules={"small": {"expression": "x < 5", "action": "quarantine"}})
    assert "has rules" in str(RowQuery(SCORING, ruled, event_model(), "1").python_reason())
    assert RowQuery(SCORING, event_stream(), event_model(), "1").python_reason() is None


PAIRS = {
    30: event(1, user_id="ann", item_id="i3"),
    31: event(1, user_id="stranger", item_id="i3"),
    32: event(1, user_id="ann", item_id="new"),
    33: event(1, user_id="ann"),
    34: b"{not json",
}


def test_pairs_get_the_scores_that_the_recommender_gives(
    spark: SparkSession, tmp_path: Path
) -> None:
    model = require_pairs(load_model(saved(tmp_path / "m"), spark), "pairs")
    query = PairQuery(SCORING, pair_stream(), model, "7")
    query.require_columns()
    assert query.python_reason() is None
    rows = [(b"k", value, "events", 1, offset) for offset, value in PAIRS.items()]
    messages = spark.createDataFrame(
        rows, "key binary, value binary, topic string, partition int, offset long"
    ).selectExpr("*", "timestamp_millis(1714557600123) AS timestamp")
    found = {v["source_offset"]: v for v in _values(query.records(messages).collect())}
    names = ["user_id", "item_id"]
    frame = spark.createDataFrame([tuple(map(found[n].get, names)) for n in (30, 31, 32)], names)
    for offset, row in zip((30, 31, 32), model.score(frame).collect(), strict=True):
        assert [found[offset][name] for name in frame.columns] == [row.user_id, row.item_id]
        assert np.float32(found[offset]["score"]) == np.float32(row.score)
        assert found[offset]["is_cold_start"] is row.is_cold_start is (offset != 30)
    assert {n: found[n]["refusal"] for n in found} == {
        **dict.fromkeys((30, 31, 32)),
        33: "null_field: a pair needs a user and an item",
        34: "malformed_json",
    }
    assert [found[n]["score"] for n in (33, 34)] == [None, None]


def test_a_recommender_that_events_cannot_use_is_refused(
    spark: SparkSession, tmp_path: Path
) -> None:
    model = load_model(saved(tmp_path / "m"), spark)
    with pytest.raises(ConfigError, match="the factors have 1144 MiB"):
        require_pairs(replace(model, sizes=(100_000_000, 0)), "pairs")
    with pytest.raises(ConfigError, match="the champion of the recommender is ease"):
        require_pairs(SimpleNamespace(algorithm="ease"), "pairs")


def _values(records: list[Any]) -> list[dict[str, Any]]:
    return [json.loads(each["value"]) for each in records]


def test_a_column_that_the_stream_lacks_is_named() -> None:
    stream = event_stream(columns={"user_id": {"type": "string", "comment": "u"}})
    with pytest.raises(SchemaError, match=r"Missing column\(s\) in stream events.*: x"):
        RowQuery(SCORING, stream, event_model(), "1").require_columns()
