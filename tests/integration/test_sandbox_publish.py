"""Events are published once to a real broker, however often and wherever it was cut."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pytest
from kafka import KafkaConsumer, KafkaProducer, TopicPartition

from matchlake.dev.sandbox.broken_events import broken_events, mix_in
from matchlake.dev.sandbox.broker import start_broker
from matchlake.dev.sandbox.events import rating_events
from matchlake.dev.sandbox.publish import partition_of, publish_events
from matchlake.dev.sandbox.topics import Event, end_offsets, read_record
from matchlake.errors import SandboxError

PARTITIONS = 3

# Publishes what the parent will, and then holds in mid-stream until it is killed.
CUT = """
import sys
sys.path.insert(0, sys.argv[3])
from tests.integration.test_sandbox_publish import PARTITIONS, events, wait_for_some
from matchlake.dev.sandbox.publish import publish_events
bootstrap, topic = sys.argv[1:3]
def hold(done):
    if done == 3000:
        print(wait_for_some(bootstrap, topic), flush=True)
        sys.stdin.read()
publish_events(bootstrap, topic, events(), partitions=PARTITIONS, progress=hold)
"""


def events(count: int = 6_000) -> list[Event]:
    frame = pd.DataFrame(
        {
            "user_id": [f"user-{n % 101}" for n in range(count)],
            "item_id": [f"item-{n}" for n in range(count)],
            "rating": [0.5 + n % 10 / 2 for n in range(count)],
            "event_time": pd.Timestamp("2024-01-01", tz="UTC"),
        }
    )
    odd = broken_events(frame, seed=3, count=52)
    return [*mix_in(rating_events([frame]), odd, every=100)]


def wait_for_some(bootstrap: str, topic: str) -> int:
    deadline = time.monotonic() + 60
    while not (there := sum(end_offsets(bootstrap, topic))) and time.monotonic() < deadline:
        time.sleep(0.05)
    return there


def assert_holds(bootstrap: str, topic: str, expected: Sequence[Event]) -> None:
    """Every partition holds its events in their order, and nothing else."""
    consumer = KafkaConsumer(
        bootstrap_servers=bootstrap,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        consumer_timeout_ms=30_000,
    )
    consumer.assign([TopicPartition(topic, number) for number in range(PARTITIONS)])
    found: list[list[Event]] = [[] for _ in range(PARTITIONS)]
    for _, record in zip(range(len(expected)), consumer, strict=False):
        found[record.partition].append(Event(record.key, record.value))
    consumer.close()
    for number in range(PARTITIONS):
        assert found[number] == [e for e in expected if partition_of(e, PARTITIONS) == number]
    assert sum(end_offsets(bootstrap, topic)) == len(expected)


def test_second_run_publishes_nothing(broker: str) -> None:
    seen: list[int] = []
    topic = "published-twice"
    first = publish_events(broker, topic, events(), partitions=PARTITIONS, progress=seen.append)
    assert first == (6_052, 0)
    assert seen == [1_000, 2_000, 3_000, 4_000, 5_000, 6_000]
    assert publish_events(broker, topic, events(), partitions=PARTITIONS) == (0, 6_052)
    assert_holds(broker, topic, events())

    longer = [*events(), Event(b"user-1", b"one more")]
    assert publish_events(broker, topic, longer, partitions=PARTITIONS) == (1, 6_052)
    # What others add after ours does no harm: now the one more is another's.
    assert publish_events(broker, topic, events(), partitions=PARTITIONS) == (0, 6_052)


def test_killed_run_is_completed(broker: str) -> None:
    topic = "published-in-two-runs"
    command = [sys.executable, "-c", CUT, broker, topic, str(Path(__file__).parents[2])]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as run:
        assert run.stdout is not None
        assert int(run.stdout.readline()) > 0
        run.kill()
    sent, found = publish_events(broker, topic, events(), partitions=PARTITIONS)
    assert sent + found == 6_052
    assert 0 < found <= 3_000
    assert_holds(broker, topic, events())


def test_topic_with_other_records_is_refused(broker: str) -> None:
    topic = "published-by-others"
    publish_events(broker, topic, [Event(b"user-1", b"not ours")], partitions=PARTITIONS)
    with pytest.raises(SandboxError, match=r"holds other records .*\(partition \d, offset 0\)"):
        publish_events(broker, topic, events(), partitions=PARTITIONS)
    # A beginning of ours is followed by what is not ours, so ours is not all there.
    topic = "published-in-part-by-us"
    beginning = events()[:1_000]
    publish_events(broker, topic, beginning, partitions=PARTITIONS)
    producer = KafkaProducer(bootstrap_servers=broker)
    producer.send(topic, b"not ours", b"user-1", partition=0)
    producer.close()
    with pytest.raises(SandboxError, match=r"holds other records .*\(partition 0, offset"):
        publish_events(broker, topic, events(), partitions=PARTITIONS)


def test_record_too_large_is_one_sentence(broker: str) -> None:
    with pytest.raises(SandboxError, match=r"Topic too-large at .* does not accept records"):
        publish_events(broker, "too-large", [Event(b"k", b"x" * 2_000_000)], partitions=1)


@pytest.mark.soak
def test_broker_that_dies_in_mid_stream_is_one_sentence(
    broker_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("matchlake.dev.sandbox.publish._TIMEOUT_MS", 3_000)
    state = start_broker(broker_root, heap="256m")

    def kill(done: int) -> None:
        if done == 2_000:
            wait_for_some(state.bootstrap, "cut-off")
            os.kill(state.pid, signal.SIGKILL)

    with pytest.raises(SandboxError, match=r"Topic cut-off at .* does not accept records: "):
        publish_events(state.bootstrap, "cut-off", events(), partitions=PARTITIONS, progress=kill)
    again = start_broker(broker_root, heap="256m")
    assert again.port == state.port
    sent, found = publish_events(again.bootstrap, "cut-off", events(), partitions=PARTITIONS)
    assert sent + found == 6_052
    assert found > 0
    assert_holds(again.bootstrap, "cut-off", events())


def test_records_and_offsets_of_a_missing_topic(broker: str) -> None:
    publish_events(broker, "one-record", [Event(b"k", None)], partitions=1)
    assert end_offsets(broker, "one-record") == [1]
    assert read_record(broker, "one-record", 0, 0) == Event(b"k", None)
    assert read_record(broker, "one-record", 0, 7) is None
    with pytest.raises(SandboxError, match="has no topic never-made: create it first"):
        end_offsets(broker, "never-made")
