"""The prediction log: whatever the broker does, no request waits, and what is lost is counted."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from kafka.errors import KafkaError, KafkaTimeoutError, MessageSizeTooLargeError
from kafka.future import Future
from tests.support.served import (
    Client,
    export_recommender,
    export_scoring,
    json_rows,
    scoring_model,
    state_of,
)

from matchlake.errors import SecretError
from matchlake.io.brokers import Broker as Broker_
from matchlake.serve.event_buffer import EventBuffer
from matchlake.serve.kafka_producer import KafkaEvents
from matchlake.serve.metrics import Metrics
from matchlake.serve.prediction_log import (
    LOST,
    SENT,
    Answered,
    Done,
    PredictionLog,
    RefusedEventError,
)


class Broker:
    """A broker that can be away, and that can lose what it is sent."""

    def __init__(self, *, away: bool = False, failing: bool = False) -> None:
        self.away, self.failing = away, failing
        self.events: list[dict[str, Any]] = []

    def connect(self) -> "Broker":
        if self.away:
            raise OSError("away")
        return self

    def send(self, key: bytes, value: bytes, done: Done) -> None:
        if self.away:
            raise OSError("gone")
        if self.failing:
            done(TimeoutError())
            return
        self.events.append(json.loads(value) | {"key": key.decode()})
        done(None)

    def flush(self, seconds: float) -> None:
        pass

    def close(self) -> None:
        pass


def answered(number: int, rows: int = 1) -> Answered:
    return Answered(str(number), 1.5, "m", "1", {"x": [1] * rows}, {"prediction": [0.5] * rows})


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_events_of_answers_have_all_columns(tmp_path: Path) -> None:
    model, broker = scoring_model(2), Broker()
    state = state_of(export_scoring(tmp_path / "m.onnx", model, "4"))
    state.log = PredictionLog(broker.connect, 100, state.metrics)
    rows = json_rows(model, range(2))
    with Client(state) as client:
        body = {"dataframe_records": [row | {"id": "secret"} for row in rows]}
        answer = client.post("/invocations", json=body)
        assert client.post("/invocations", json={"inputs": {}}).status_code == 400
        until(lambda: len(broker.events) == 2)
        events = broker.events
        assert [each["id"] for each in events] == [
            f"{answer.headers['x-prediction-id']}-{row}" for row in range(2)
        ]
        assert [json.loads(each["inputs"]) for each in events] == rows
        outputs = [json.loads(each["outputs"]) for each in events]
        assert outputs == answer.json()["predictions"]
        assert {(each["model"], each["version"], each["propensity"]) for each in events} == {
            ("m", "4", 1.0)
        }
        again = client.post("/invocations", json={"dataframe_records": rows})
        assert again.status_code == 200
        until(lambda: len(broker.events) == 4)
        assert broker.events[2]["features_hash"] == events[0]["features_hash"] != ""
        assert "secret" not in json.dumps(broker.events)
    state.log.close(5)


def test_lists_are_logged_with_their_user(tmp_path: Path) -> None:
    broker = Broker()
    state = state_of(export_recommender(tmp_path / "best", "1"))
    state.log = PredictionLog(broker.connect, 100, state.metrics)
    with Client(state) as client:
        found = client.get("/recommend/ann?k=2").json()["items"]
        client.post("/recommend", json={"items": {"i0": 2.0}, "k": 1})
        until(lambda: len(broker.events) == 2)
    first, second = broker.events
    assert (first["user_id"], second["user_id"]) == ("ann", None)
    assert json.loads(first["outputs"])["item_id"] == [each["item_id"] for each in found]
    assert first["score"] == found[0]["score"]
    assert json.loads(second["inputs"])["items"] == {"i0": 2.0}
    state.log.close(5)


@pytest.mark.parametrize("failing", [False, True])
def test_lost_events_are_counted_and_nobody_waits(failing: bool) -> None:  # noqa: FBT001
    metrics = Metrics()
    broker = Broker(away=not failing, failing=failing)
    log = PredictionLog(broker.connect, 50, metrics)
    begin = time.monotonic()
    for number in range(200):
        log.offer(answered(number))
    assert time.monotonic() - begin < 1
    log.close(5)
    assert metrics.value(LOST) + metrics.value(SENT) == 200
    assert metrics.value(SENT) == 0


def test_a_broker_that_comes_back_gets_the_queue() -> None:
    metrics, broker = Metrics(), Broker(away=True)
    log = PredictionLog(broker.connect, 50, metrics)
    log.offer(answered(0, rows=3))
    assert log.waiting == 3
    broker.away = False
    until(lambda: metrics.value(SENT) == 3)
    log.offer(answered(1, rows=51))
    assert metrics.value(LOST) == 51
    log.close(5)


def test_a_buffer_keeps_events_over_a_restart_and_sends_each_once(tmp_path: Path) -> None:
    path, metrics = tmp_path / "kept.db", Metrics()
    away = PredictionLog(Broker(away=True).connect, 1000, metrics, EventBuffer(path, 100))
    for number in range(120):
        away.offer(answered(number))
    away.close(20)
    assert (metrics.value(LOST), len(EventBuffer(path, 100))) == (20, 100)
    broker = Broker()
    log = PredictionLog(broker.connect, 1000, metrics, EventBuffer(path, 100))
    until(lambda: len(broker.events) == 100)
    log.offer(answered(500))
    until(lambda: len(broker.events) == 101)
    log.close(5)
    assert len(EventBuffer(path, 100)) == 0
    assert [each["id"] for each in broker.events] == [*(f"{n}-0" for n in range(100)), "500-0"]


def test_a_send_that_fails_goes_to_the_buffer(tmp_path: Path) -> None:
    metrics, broker = Metrics(), Broker(failing=True)
    buffer = EventBuffer(tmp_path / "kept.db", 100)
    log = PredictionLog(broker.connect, 1000, metrics, buffer)
    log.offer(answered(1))
    until(lambda: len(buffer) == 1)
    broker.failing = False
    until(lambda: metrics.value(SENT) == 1)
    log.close(5)
    assert (metrics.value(LOST), len(broker.events)) == (0, 1)


def test_an_event_that_no_broker_takes_is_lost_and_the_others_are_sent(tmp_path: Path) -> None:
    class Small(Broker):
        def send(self, key: bytes, value: bytes, done: Done) -> None:
            if key == b"1-0":
                done(RefusedEventError("too large"))
            else:
                super().send(key, value, done)

    path, metrics, broker = tmp_path / "kept.db", Metrics(), Small(away=True)
    log = PredictionLog(broker.connect, 1000, metrics, EventBuffer(path, 100))
    for number in range(3):
        log.offer(answered(number))
    until(lambda: log.waiting == 0)
    broker.away = False
    until(lambda: metrics.value(SENT) == 2)
    log.close(5)
    assert (metrics.value(LOST), len(EventBuffer(path, 100))) == (1, 0)


def test_the_log_goes_on_after_errors_of_the_login_and_of_the_buffer(tmp_path: Path) -> None:
    metrics, broker = Metrics(), Broker()
    calls: list[int] = []

    def connect() -> Broker:
        calls.append(1)
        if len(calls) == 1:
            raise SecretError("no secret")
        return broker

    buffer = EventBuffer(tmp_path / "kept.db", 100)
    log = PredictionLog(connect, 1000, metrics, buffer)
    log.offer(answered(1))
    until(lambda: metrics.value(SENT) == 1)
    buffer._store.execute("DROP TABLE events")
    time.sleep(0.2)
    log.offer(answered(2))
    until(lambda: metrics.value(SENT) == 2)
    log.close(5)
    assert [each["id"] for each in broker.events] == ["1-0", "2-0"]


def test_kafka_says_which_events_it_never_takes() -> None:
    found: list[Any] = []

    class Producer:
        def send(self, _topic: str, value: bytes, _key: bytes) -> Any:
            if value == b"huge":
                raise MessageSizeTooLargeError
            return Future().failure(MessageSizeTooLargeError() if value == b"big" else error)

    error = KafkaTimeoutError()
    events = KafkaEvents.__new__(KafkaEvents)
    events._topic, events._error, events._producer = "t", KafkaError, Producer()
    for value in (b"huge", b"big", b"small"):
        events.send(b"k", value, found.append)
    assert [type(each) for each in found] == [*[RefusedEventError] * 2, KafkaTimeoutError]


def test_a_broker_that_is_not_there_is_noticed_soon() -> None:
    begin = time.monotonic()
    with pytest.raises(OSError, match=r"127\.0\.0\.1:9"):
        KafkaEvents(Broker_("127.0.0.1:9"), "predictions")
    assert time.monotonic() - begin < 10
