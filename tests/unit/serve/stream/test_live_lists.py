"""Histories, lists and the records of events, without a broker."""

import json
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from kafka.errors import MessageSizeTooLargeError
from tests.support.live_streams import CountingRanker, live_loop, live_params

from matchlake.errors import InputError, SourceError
from matchlake.recommender.als.numpy_model import NumpyFactorModel
from matchlake.recommender.als.params import AlsParams
from matchlake.serve.stream.histories import Histories
from matchlake.serve.stream.live_lists import LiveLists
from matchlake.serve.stream.loop import StreamLoop


class Before:
    """Histories of a published table."""

    def rows(self, *key: Any) -> list[dict[str, Any]]:
        rows = [("i2", 2.0, 20), ("i1", 1.0, 10)] if key == ("old",) else []
        return [{"item_id": i, "rating": r, "event_time": t} for i, r, t in rows]


class Sent:
    """A producer that keeps what it is given."""

    def __init__(self) -> None:
        self.records: list[tuple[Any, ...]] = []

    def send(self, topic: str, value: Any, key: Any, headers: Any = None) -> None:
        self.records.append((topic, key, value, dict(headers or ())))


def test_memory_is_bounded_and_every_history_is_found_again() -> None:
    histories = Histories(cached=10)
    for number in range(500):
        histories.put(f"u{number}", {"i": float(number)})
    assert (histories.in_memory, len(histories)) == (10, 500)
    assert all(histories.get(f"u{n}") == {"i": float(n)} for n in (0, 250, 499))
    assert (histories.in_memory, histories.get("nobody")) == (10, None)
    histories.remove("u0")
    assert histories.get("u0") is None
    histories.close()


@pytest.mark.parametrize(("how", "value"), [("last", 1.0), ("sum", 4.0), ("max", 3.0)])
def test_an_item_with_several_events_has_one_value(how: str, value: float) -> None:
    lists = LiveLists(live_params().model_copy(update={"aggregation": how}), CountingRanker())
    lists.apply("u", "i", 3.0)
    assert lists.apply("u", "i", 1.0).history == {"i": value}


def test_a_history_begins_with_that_of_before_and_loses_its_oldest_items() -> None:
    lists = LiveLists(live_params(max_history=2), CountingRanker(), Before())  # type: ignore[arg-type]
    assert list(lists.history("old")) == ["i1", "i2"]
    assert lists.apply("old", "i9", 5.0).history == {"i2": 2.0, "i9": 5.0}
    assert lists.history("old") == {"i2": 2.0, "i9": 5.0}


def test_a_request_after_an_event_knows_it_and_an_erased_user_has_no_answer() -> None:
    lists = LiveLists(live_params(), CountingRanker(), erased={"gone"})
    new = lists.apply("u", "i", 2.0)
    answer = lists.recommend("u")
    assert answer == new
    assert (new.items, new.model_version) == ([("n1", 2.0)], "3")
    assert lists.recommend("gone") is None


def test_a_refused_value_leaves_the_history() -> None:
    lists = LiveLists(live_params(), CountingRanker())
    lists.apply("u", "i", 2.0)
    with pytest.raises(InputError, match="negative"):
        lists.apply("u", "j", -1.0)
    assert lists.history("u") == {"i": 2.0}


def test_events_become_lists_dead_letters_and_deletions() -> None:
    loop, sent = live_loop({}, "t"), Sent()
    loop.lists.erased = {"gone"}
    values = [
        b'{"user_id": "u", "item_id": "i", "weight": 2}',
        b"{not json",
        b'{"user_id": "u", "item_id": null, "weight": 2}',
        b'{"user_id": "u", "item_id": "j", "weight": -2}',
        b'{"user_id": "gone", "item_id": "i", "weight": 2}',
        None,
    ]
    records = [
        SimpleNamespace(topic="t", partition=1, offset=n, timestamp=5, key=b"k", value=value)
        for n, value in enumerate(values)
    ]
    for record, fields, error in loop._read(records):
        loop._one(sent, record, fields, error)
    new, history, *others = sent.records
    assert (new[0], new[1], json.loads(new[2])) == (
        "t.lists",
        b"u",
        {
            "source_topic": "t",
            "source_partition": 1,
            "source_offset": 0,
            "source_timestamp": 5,
            "user_id": "u",
            "model_version": "3",
            "items": [{"item_id": "n1", "score": 2.0}],
        },
    )
    assert (history[0], history[1], json.loads(history[2])) == ("t.histories", b"u", {"i": 2.0})
    dead = [each for each in others if each[0] == "t.dead"]
    assert [each[3]["source_offset"] for each in dead] == [b"1", b"2", b"3", b"5"]
    assert [each[2] for each in dead] == [values[1], values[2], values[3], None]
    assert (b"gone", None) in [(key, value) for _, key, value, _ in others]
    assert (loop.counts.events, loop.counts.refused, loop.counts.erased) == (6, 4, 1)


def test_a_record_that_is_too_large_says_what_to_change(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise MessageSizeTooLargeError("1048600 bytes")

    producer = SimpleNamespace(init_transactions=refuse, close=lambda **_: None)
    monkeypatch.setattr(StreamLoop, "_require_compacted", lambda _: None)
    monkeypatch.setattr(StreamLoop, "_producer", lambda _: producer)
    with pytest.raises(SourceError, match=r"1048600 bytes\. Lower serve_stream\.max_history"):
        live_loop({}, "t").run()


def test_a_list_equals_the_fold_in_of_the_whole_history() -> None:
    from matchlake.cli.serve_stream import NumpyRanker  # noqa: PLC0415 - loads the kernels

    draw = np.random.default_rng(3)
    factors = draw.normal(size=(30, 4)).astype(np.float32)
    zeros = np.zeros(30, np.float32)
    params = AlsParams(feedback="explicit", rank=4, regularization=0.1)
    items = [f"i{n}" for n in range(30)]
    model = NumpyFactorModel(["u"], items, factors[:1], factors, zeros[:1], zeros, 3.0, params)
    ranker = NumpyRanker(model, "1")
    lists = LiveLists(live_params(k=5).model_copy(update={"aggregation": "last"}), ranker)
    history = {"i3": 5.0, "i7": 1.0, "unknown": 4.0, "i9": 2.0}
    for item, value in history.items():
        answer = lists.apply("new", item, value)
    row = model.fold_in_user(history)
    scores = 3.0 + row.bias + factors @ row.factors
    left = [n for n in range(30) if n not in (3, 7, 9)]
    expected = sorted(left, key=lambda n: -scores[n])[:5]
    assert [item for item, _ in answer.items] == [f"i{n}" for n in expected]
    np.testing.assert_allclose([s for _, s in answer.items], scores[expected], rtol=1e-5)
