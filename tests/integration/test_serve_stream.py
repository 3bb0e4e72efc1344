"""serve-stream with a real broker: each event once in lists and histories, also after kills."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from tests.support.live_streams import live_loop
from tests.support.sources import ROOT

from matchlake.dev.sandbox.topics import create_topic
from matchlake.errors import SourceError


def make_topics(broker: str, topic: str, partitions: int = 2) -> None:
    for name in (topic, f"{topic}.lists", f"{topic}.dead"):
        create_topic(broker, name, partitions)
    compact = {"num_partitions": partitions, "configs": {"cleanup.policy": "compact"}}
    with KafkaAdminClient(bootstrap_servers=[broker]) as admin:
        admin.create_topics({f"{topic}.histories": compact})
        admin.wait_for_topics([f"{topic}.histories"])


def send(broker: str, topic: str, numbers: range, users: int = 5) -> None:
    producer = KafkaProducer(bootstrap_servers=[broker])
    for number in numbers:
        fields = {"user_id": f"u{number % users}", "item_id": f"i{number}", "weight": 1}
        value = b"broken" if number % 10 == 9 else json.dumps(fields).encode()
        producer.send(topic, value, f"u{number % users}".encode(), partition=number % 2)
    producer.flush(timeout=30)
    producer.close(timeout=5)


def committed(broker: str, topic: str) -> list[Any]:
    """All records of a topic that a consumer of committed records sees."""
    consumer = KafkaConsumer(
        bootstrap_servers=[broker],
        isolation_level="read_committed",
        auto_offset_reset="earliest",
        consumer_timeout_ms=1500,
    )
    consumer.assign([TopicPartition(topic, each) for each in (0, 1)])
    found = list(consumer)
    consumer.close()
    return found


def check_once(broker: str, topic: str, events: int, users: int = 5) -> None:
    lists = [json.loads(each.value) for each in committed(broker, f"{topic}.lists")]
    places = [(each["source_partition"], each["source_offset"]) for each in lists]
    dead = [dict(each.headers) for each in committed(broker, f"{topic}.dead")]
    places += [(int(each["source_partition"]), int(each["source_offset"])) for each in dead]
    assert (len(places), len(set(places))) == (events, events), "lost or doubled"
    histories = {e.key: json.loads(e.value) for e in committed(broker, f"{topic}.histories")}
    valid = [n for n in range(events) if n % 10 != 9]
    for user in range(users):
        own = {f"i{n}": 1.0 for n in valid if n % users == user}
        assert histories.get(f"u{user}".encode(), {}) == own


def test_each_event_is_folded_in_once_and_a_new_process_continues(broker: str) -> None:
    make_topics(broker, "live")
    loop = live_loop({"bootstrap_servers": [broker]}, "live", events=40)
    asked = []
    loop.between = lambda _: (
        asked.append(1) or (len(asked) == 1 and send(broker, "live", range(40)))
    )  # type: ignore[func-returns-value]
    counts = loop.run()
    assert (counts.events, counts.refused) == (40, 4)
    send(broker, "live", range(40, 60))
    again = live_loop({"bootstrap_servers": [broker]}, "live", events=20)
    assert again.run().events == 20
    check_once(broker, "live", 60)
    create_topic(broker, "plain.histories", 1)
    with pytest.raises(SourceError, match="is not compacted"):
        live_loop({"bootstrap_servers": [broker]}, "plain").run()


@pytest.mark.soak
def test_killed_twenty_times_it_loses_and_doubles_nothing(
    broker: str, tell: Callable[[str], None]
) -> None:
    make_topics(broker, "slaughter")
    command = [sys.executable, "-m", "tests.support.live_streams", broker, "slaughter"]
    draw, sent, kills = random.Random(5), 0, 0  # noqa: S311 - moments of kills, no secret
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'lib'}{os.pathsep}{ROOT}"}
    for number in range(21):
        with subprocess.Popen(command, cwd=ROOT, env=environment) as process:
            if number == 0:
                time.sleep(15)  # the first process commits where it begins
            for _ in range(10):
                send(broker, "slaughter", range(sent, sent + 20))
                sent += 20
            time.sleep(draw.uniform(1, 8))
            kills += process.poll() is None
            process.send_signal(signal.SIGKILL)
    loop = live_loop({"bootstrap_servers": [broker]}, "slaughter")
    quiet = [time.monotonic() + 20, 0]

    def is_done() -> bool:
        if loop.counts.events != quiet[1]:
            quiet[:] = [time.monotonic() + 10, loop.counts.events]
        return time.monotonic() > quiet[0]

    loop.stopped = is_done
    loop.run()
    check_once(broker, "slaughter", sent)
    tell(f"{kills} kills, {sent} events, none lost, none doubled")
