"""Events as records with scores: what SQL makes of good, bad and erased ones."""

import json
from typing import Any

import pytest
from pyspark.sql import SparkSession
from tests.support.event_models import event, event_model, event_stream

from matchlake.errors import SchemaError
from matchlake.formulas.heads import LinearHead
from matchlake.io.salt import Salt
from matchlake.lakehouse.event_streams import erased_keys
from matchlake.training.event_params import EventScoring
from matchlake.training.event_scores import EventQuery
from matchlake.training.model_scoring import predictions

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
        query = EventQuery(params, event_stream(), event_model(), "7")
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
    assert "has no SQL" in str(EventQuery(SCORING, event_stream(), model, "1").python_reason())
    csv = event_stream(format="csv", columns={"user_id": {"type": "string", "comment": "u"}})
    assert (
        EventQuery(SCORING, csv, event_model(), "1").python_reason()
        == "the format csv is read by Python"
    )
    ruled = event_stream(rules={"small": {"expression": "x < 5", "action": "quarantine"}})
    assert "has rules" in str(EventQuery(SCORING, ruled, event_model(), "1").python_reason())
    assert EventQuery(SCORING, event_stream(), event_model(), "1").python_reason() is None


def test_a_column_that_the_stream_lacks_is_named() -> None:
    stream = event_stream(columns={"user_id": {"type": "string", "comment": "u"}})
    with pytest.raises(SchemaError, match=r"Missing column\(s\) in stream events.*: x"):
        EventQuery(SCORING, stream, event_model(), "1").require_columns()
