"""A real broker is started, stopped and killed, and its starter too."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from kafka import KafkaConsumer, KafkaProducer, TopicPartition

from matchlake.dev.sandbox.broker import broker_status, start_broker, stop_broker
from matchlake.dev.sandbox.topics import create_topic
from matchlake.errors import SandboxError

STARTER = """
import sys
from pathlib import Path
from matchlake.dev.sandbox import broker
def announce(home, state, timeout):
    print("waiting", flush=True)
    sys.stdin.read()
broker._wait_until_it_answers = announce
broker.start_broker(Path(sys.argv[1]), heap="256m")
"""


def produce(bootstrap: str, topic: str, values: list[bytes]) -> None:
    producer = KafkaProducer(bootstrap_servers=bootstrap)
    for value in values:
        producer.send(topic, value, partition=0)
    producer.close()


def read(bootstrap: str, topic: str, count: int) -> list[bytes]:
    partition = TopicPartition(topic, 0)
    consumer = KafkaConsumer(
        bootstrap_servers=bootstrap,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        consumer_timeout_ms=20_000,
    )
    consumer.assign([partition])
    values = [record.value for _, record in zip(range(count), consumer, strict=False)]
    consumer.close()
    return values


def runs(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


@pytest.mark.soak
def test_data_and_port_outlive_stop_and_kill(broker_root: Path) -> None:
    first = start_broker(broker_root, heap="256m")
    assert broker_status(broker_root).phase == "running"
    assert create_topic(first.bootstrap, "kept", 2)
    produce(first.bootstrap, "kept", [b"before stop"])

    again = start_broker(broker_root)
    assert (again.pid, again.port) == (first.pid, first.port), "a second start is a no-op"
    with pytest.raises(SandboxError, match=f"already runs on port {first.port}"):
        start_broker(broker_root, port=first.port + 1)

    assert stop_broker(broker_root)
    assert not runs(first.pid)
    assert broker_status(broker_root).phase == "stopped"
    assert not stop_broker(broker_root)

    second = start_broker(broker_root, heap="256m")
    assert second.port == first.port
    assert not create_topic(second.bootstrap, "kept", 2)
    produce(second.bootstrap, "kept", [b"before kill"])
    os.kill(second.pid, signal.SIGKILL)
    psutil.wait_procs([psutil.Process(second.pid)], timeout=10)
    assert broker_status(broker_root).phase == "crashed"

    third = start_broker(broker_root, heap="256m")
    assert read(third.bootstrap, "kept", 2) == [b"before stop", b"before kill"]


def test_killed_starter_leaves_a_broker_that_stop_ends(broker_root: Path) -> None:
    command = [sys.executable, "-c", STARTER, str(broker_root)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as starter:
        assert starter.stdout is not None
        assert starter.stdout.readline() == b"waiting\n"
        starter.kill()
    # As if it had died before it could note the process, too.
    (broker_root / "kafka" / "state.json").unlink()

    left = broker_status(broker_root)
    assert left.phase == "running"
    assert start_broker(broker_root).pid == left.pid, "it is taken over"
    assert stop_broker(broker_root)
    assert not runs(left.pid)


def test_two_starts_at_once_make_one_broker(broker_root: Path) -> None:
    start = "import sys; from pathlib import Path; from matchlake.dev.sandbox.broker import *; "
    start += "print(start_broker(Path(sys.argv[1]), heap='256m').pid)"
    command = [sys.executable, "-c", start, str(broker_root)]
    runs = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    pids = [int(run.communicate()[0]) for run in runs]
    assert pids == [broker_status(broker_root).pid] * 2


def test_port_taken_in_the_meantime_is_named(
    broker_root: Path, monkeypatch: pytest.MonkeyPatch, broker: str
) -> None:
    taken = int(broker.rpartition(":")[2])
    monkeypatch.setattr("matchlake.io.ports.is_port_free", lambda _: True)
    with pytest.raises(SandboxError, match="its port was taken by another program"):
        start_broker(broker_root, port=taken, heap="256m")
    assert broker_status(broker_root).phase == "stopped"
    assert create_topic(broker, "left-alone", 1), "the one that has the port still serves"


def test_requested_port_that_is_taken_names_its_owner(broker_root: Path, broker: str) -> None:
    taken = int(broker.rpartition(":")[2])
    with pytest.raises(SandboxError, match=rf"Port {taken} is taken by java \(process \d+\)"):
        start_broker(broker_root, port=taken)


def test_topic_is_made_once(broker: str) -> None:
    assert create_topic(broker, "made-once", 3)
    assert not create_topic(broker, "made-once", 3)
    with pytest.raises(SandboxError, match="there with 3 partitions, not 4"):
        create_topic(broker, "made-once", 4)
    with pytest.raises(
        SandboxError, match="'not a/legal name' was not made: Topic name is invalid"
    ):
        create_topic(broker, "not a/legal name", 1)
