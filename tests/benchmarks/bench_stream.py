"""Milliseconds from an event in Kafka to its score, or to the new list of its user, in Kafka.

    python tests/benchmarks/bench_stream.py --rate 1000 --seconds 60 --json

Sides, one after the other on the same two cores and with one partition: `score_events` in real
time, the same query in micro-batches, and `serve-stream` with an ALS model of 12,000 items and rank
64. A process sends events at a fixed rate. The time of an event is from its Kafka timestamp to the
moment a consumer of committed records has the answer. The first seconds are left out.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from pyspark.sql import SparkSession
from tests.benchmarks.marks import with_marks
from tests.benchmarks.runs import pin, session, versions
from tests.support.event_models import event, scored_conf
from tests.support.live_streams import live_loop
from tests.support.scored_events import event_streams
from tests.support.streams import runtime_in

from matchlake.cli.serve_stream import NumpyRanker
from matchlake.dev.sandbox.broker import start_broker, stop_broker
from matchlake.dev.sandbox.topics import create_topic
from matchlake.lakehouse.event_streams import run_streams
from matchlake.recommender.als.numpy_model import NumpyFactorModel
from matchlake.recommender.als.params import AlsParams

ITEMS, RANK, USERS = 12_000, 64, 10_000
_TICKS = 100
_MODULE = "tests.benchmarks.bench_stream"


def main() -> None:
    """Prints one line of JSON, or a table of text."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rate", type=int, default=1000, help="events per second")
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--warm-up", type=int, default=20, help="seconds that are left out")
    parser.add_argument("--sides", default="real_time,micro_batch,serve_stream")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    pin(options.threads)
    result: dict[str, Any] = {"bench": "stream", "rate": options.rate, "seconds": options.seconds}
    with tempfile.TemporaryDirectory() as folder, _broker(Path(folder) / "broker") as address:
        for side in options.sides.split(","):
            run = _serve if side == "serve_stream" else _score
            result[side] = run(address, side, Path(folder), options)
            print(side, result[side], file=sys.stderr, flush=True)
    if {"real_time", "micro_batch"} <= set(result):
        result["ratio"] = round(result["real_time"]["p99"] / result["micro_batch"]["p99"], 3)
    result["versions"] = versions("kafka-python")
    result = with_marks("stream", result)
    print(json.dumps(result) if options.json else json.dumps(result, indent=1))


@contextmanager
def _broker(root: Path) -> Iterator[str]:
    try:
        yield start_broker(root, heap="512m").bootstrap
    finally:
        stop_broker(root)


def _score(address: str, mode: str, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """The times of `score_events` in one mode."""
    for topic in (mode, f"{mode}.scores"):
        create_topic(address, topic, 1)
    spark = _spark(folder, options)
    at = runtime_in(spark, folder / mode, **scored_conf(address, mode, mode=mode))
    streams = event_streams(at, address).prepare()
    runner = threading.Thread(target=run_streams, args=[streams], daemon=True)
    runner.start()
    try:
        return _times(address, mode, f"{mode}.scores", options)
    finally:
        for query in spark.streams.active:
            query.stop()
        runner.join(60)


def _spark(folder: Path, options: argparse.Namespace) -> SparkSession:
    return session(SimpleNamespace(driver_memory="2g", threads=options.threads), folder)  # type: ignore[arg-type]


def _serve(address: str, side: str, folder: Path, options: argparse.Namespace) -> dict[str, Any]:  # noqa: ARG001 - as `_score`
    """The times of `serve-stream`, which runs in a process of its own."""
    for topic in (side, f"{side}.lists", f"{side}.dead"):
        create_topic(address, topic, 1)
    with KafkaAdminClient(bootstrap_servers=[address]) as admin:
        compact = {"num_partitions": 1, "configs": {"cleanup.policy": "compact"}}
        admin.create_topics({f"{side}.histories": compact})
        admin.wait_for_topics([f"{side}.histories"])
    with subprocess.Popen([sys.executable, "-m", _MODULE, "serve", address, side]) as process:
        try:
            return _times(address, side, f"{side}.lists", options)
        finally:
            process.terminate()


def serve(address: str, topic: str) -> None:
    """Runs `serve-stream` with drawn factors until it is ended."""
    draw = np.random.default_rng(1)
    factors = draw.normal(0, 0.1, (ITEMS, RANK)).astype(np.float32)
    zeros = np.zeros(ITEMS, np.float32)
    items = [f"i{number}" for number in range(ITEMS)]
    params = AlsParams(
        feedback="implicit", rank=RANK, regularization=0.1, alpha=10.0, unobserved_weight=0.1
    )
    model = NumpyFactorModel(["u"], items, factors[:1], factors, zeros[:1], zeros, 0.0, params)
    ranker = NumpyRanker(model, "1")
    loop = live_loop({"bootstrap_servers": [address]}, topic)
    loop.lists.ranker = ranker
    loop.run()


def _times(address: str, source: str, topic: str, options: argparse.Namespace) -> dict[str, Any]:
    """Percentiles in milliseconds, once a first event was answered."""
    consumer = KafkaConsumer(
        bootstrap_servers=[address], isolation_level="read_committed", fetch_max_wait_ms=5
    )
    partition = TopicPartition(topic, 0)
    consumer.assign([partition])
    consumer.seek_to_beginning(partition)
    _until_answered(address, source, consumer)
    command = [sys.executable, "-m", _MODULE, "send", address, source, str(options.rate)]
    events = options.rate * (options.seconds + options.warm_up)
    skipped, took = options.rate * options.warm_up, []
    with subprocess.Popen([*command, str(events)]) as producer:
        deadline = time.monotonic() + 2 * (options.seconds + options.warm_up) + 60
        while len(took) < events and time.monotonic() < deadline:
            for records in consumer.poll(timeout_ms=100).values():
                now = time.time() * 1000
                took += [now - json.loads(each.value)["source_timestamp"] for each in records]
        producer.wait()
    consumer.close()
    p50, p99, p999 = np.percentile(took[skipped:], [50, 99, 99.9])
    figures = {"p50": p50, "p99": p99, "p999": p999}
    return {
        "events": len(took) - skipped,
        "lost": events - len(took),
        **{name: round(float(each), 1) for name, each in figures.items()},
    }


def _until_answered(address: str, source: str, consumer: Any) -> None:
    """Sends an event each second until there is an answer, and reads what follows."""
    producer = KafkaProducer(bootstrap_servers=[address])
    deadline = time.monotonic() + 240
    while not consumer.poll(timeout_ms=1000):
        if time.monotonic() > deadline:
            raise TimeoutError(f"no answer to an event of {source}")
        producer.send(source, _value(0), b"k")
        producer.flush(timeout=10)
    producer.close()
    while consumer.poll(timeout_ms=3000):
        continue


def _value(number: int) -> bytes:
    user, item = f"u{number * 7919 % USERS}", f"i{number * 104729 % ITEMS}"
    return event(number % 100, user_id=user, item_id=item, weight=1.0)


def send(address: str, topic: str, rate: int, events: int) -> None:
    """Sends events evenly; falls behind rather than crowd."""
    producer = KafkaProducer(bootstrap_servers=[address], linger_ms=0)
    begin, number = time.monotonic(), 0
    while number < events:
        for _ in range(max(1, rate // _TICKS)):
            producer.send(topic, _value(number), b"k")
            number += 1
        time.sleep(max(0.0, begin + number / rate - time.monotonic()))
    producer.flush(timeout=60)
    producer.close()


_COMMANDS: dict[str, Callable[..., None]] = {
    "send": lambda address, topic, rate, events: send(address, topic, int(rate), int(events)),
    "serve": serve,
}

if __name__ == "__main__":
    if len(sys.argv) > 1 and sys.argv[1] in _COMMANDS:
        _COMMANDS[sys.argv[1]](*sys.argv[2:])
    else:
        main()
