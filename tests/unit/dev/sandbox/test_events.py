"""Rating events as JSON, and odd events that are as odd as they say."""

import json
from collections import Counter
from datetime import UTC, datetime
from typing import Any

import pandas as pd
import pytest

from matchlake.dev.sandbox.broken_events import QUARANTINE_REASONS, OddEvent, broken_events, mix_in
from matchlake.dev.sandbox.events import rating_events
from matchlake.dev.sandbox.publish import partition_of
from matchlake.dev.sandbox.topics import Event

FIELDS = ("user_id", "item_id", "rating", "event_time")


def ratings(count: int = 200) -> pd.DataFrame:
    times = pd.date_range("1998-01-01", periods=count, freq="37s", tz="UTC", unit="us")
    return pd.DataFrame(
        {
            "user_id": [f"u{n % 17}" for n in range(count)],
            "item_id": [f"i{n}" for n in range(count)],
            "rating": [1.0 + n % 5 for n in range(count)],
            "event_time": times,
        }
    )


def why_not(value: bytes | None) -> str | None:  # noqa: PLR0911 - one line a reason
    """What is wrong with a value, by the standard library alone."""
    if value is None:
        return "tombstone"
    if not value.strip():
        return "empty"
    try:
        text = value.decode("utf-8")
    except UnicodeDecodeError:
        return "invalid_utf8"
    try:
        fields = json.loads(text)
    except ValueError:
        return "malformed_json"
    if not isinstance(fields, dict):
        return "not_an_object"
    if not set(FIELDS) <= set(fields):
        return "missing_field"
    if None in [fields[name] for name in FIELDS]:
        return "null_field"
    return why_not_fields(fields)


def why_not_fields(fields: dict[str, Any]) -> str | None:
    if not isinstance(fields["user_id"], str) or not isinstance(fields["item_id"], str):
        return "wrong_type"
    if not isinstance(fields["rating"], int | float):
        return "wrong_type"
    try:
        datetime.fromisoformat(fields["event_time"])
    except ValueError:
        return "wrong_type"
    return None if 0.5 <= fields["rating"] <= 5 else "out_of_range"


def test_a_rating_as_an_event() -> None:
    frame = pd.DataFrame(
        {
            "user_id": ['ünï"1', "2"],
            "item_id": ["7", "8"],
            "rating": [3.5, 4.0],
            "event_time": [
                pd.Timestamp("1997-12-04 15:55:49.123456", tz="UTC"),
                # Another zone for the same frame would be an error of ours: UTC is written.
                pd.Timestamp("1997-12-04 16:55:49", tz="UTC"),
            ],
        }
    )
    frame["event_time"] = frame["event_time"].dt.tz_convert("Asia/Kolkata")
    first, second = rating_events([frame.iloc[:1], frame.iloc[1:]])
    assert first.key == 'ünï"1'.encode()
    assert first.value is not None
    assert json.loads(first.value) == {
        "user_id": 'ünï"1',
        "item_id": "7",
        "rating": 3.5,
        "event_time": "1997-12-04T15:55:49.123Z",
    }
    assert second == Event(
        b"2",
        b'{"user_id":"2","item_id":"8","rating":4.0,"event_time":"1997-12-04T16:55:49.000Z"}',
    )


def test_odd_events_match_their_labels() -> None:
    odd = broken_events(ratings(), seed=1, count=520)
    assert len(odd) == 520
    kinds = Counter(one.kind for one in odd)
    assert set(kinds.values()) == {20}, "every kind as often"
    for one in odd:
        assert why_not(one.event.value) == one.reason, one
    assert {one.reason for one in odd} == {*QUARANTINE_REASONS, None}
    accepted = {one.kind for one in odd if one.reason is None}
    assert accepted == {"unknown field", "duplicate", "late"}
    assert any(one.event.key is None for one in odd)
    assert all(one.event.key is not None for one in odd if one.event.value is None)


def test_odd_events_follow_from_their_seed() -> None:
    assert broken_events(ratings(), 5, 60) == broken_events(ratings(), 5, 60)
    assert broken_events(ratings(), 5, 60) != broken_events(ratings(), 6, 60)


def test_accepted_odd_events_do_not_change_the_last_rating_of_any_pair() -> None:
    frame = ratings()
    good = {(row.user_id, row.item_id): row for row in frame.itertuples()}
    accepted = [one for one in broken_events(frame, 2, 260) if one.reason is None]
    assert len(accepted) == 30
    for one in accepted:
        assert one.event.value is not None
        fields = json.loads(one.event.value)
        same = good[fields["user_id"], fields["item_id"]]
        time = datetime.fromisoformat(fields["event_time"])
        assert one.event.key == same.user_id.encode()
        if one.kind == "late":
            assert time == datetime(1990, 1, 1, tzinfo=UTC) < same.event_time
        else:
            assert (time, fields["rating"]) == (same.event_time, same.rating)


@pytest.mark.parametrize(
    ("every", "expected"), [(2, "aa1aa2a345"), (3, "aaa1aa2345"), (9, "aaaaa12345")]
)
def test_odd_events_are_mixed_in_evenly(every: int, expected: str) -> None:
    good = [Event(None, b"a")] * 5
    odd = [OddEvent("odd", Event(None, str(n).encode()), None) for n in range(1, 6)]
    mixed = b"".join(event.value or b"" for event in mix_in(good, odd, every))
    assert mixed.decode() == expected


@pytest.mark.parametrize(
    ("key", "murmur"),
    [
        # Known answers of the hash that Kafka's Java clients use.
        (b"21", -973932308),
        (b"foobar", -790332482),
        (b"a-little-bit-long-string", -985981536),
        (b"abc", 479470107),
    ],
)
def test_partitions_are_those_of_kafka_clients(key: bytes, murmur: int) -> None:
    for partitions in (1, 3, 64):
        expected = (murmur & 0x7FFFFFFF) % partitions
        assert partition_of(Event(key, b"any"), partitions) == expected
        assert partition_of(Event(None, key), partitions) == expected, "by value, without a key"
    assert partition_of(Event(None, None), 7) in range(7)
