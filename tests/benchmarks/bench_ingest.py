"""Records a second from Kafka into Delta: all guarantees on, against streams without any.

    python tests/benchmarks/bench_ingest.py --events 10000000 --json
    python tests/benchmarks/bench_ingest.py --events 1000000 --replay 100000 --continuous 300

All sides read the same topic with the same trigger, partitions and batch size, in turn. `from_json`
writes the columns that ours has, all but null checkpoint and batch; `from_json_narrow` the event's
own and its position, 8 of 17. A side's last table is compared with ours in what it writes, by
EXCEPT ALL both ways. Our time includes the checks at the start, the batch log, and the check that
nothing is missing or doubled. Before, each side in the JVM reads a million other events in ten
batches.
"""

import argparse
import json
import logging
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from tests.benchmarks.ingest_peers import PEERS, Peer
from tests.benchmarks.marks import with_marks
from tests.benchmarks.memory import PeakMemory
from tests.support.streams import INGEST_EVENTS, batch_log_of, one_stream, with_ingest, with_stream

from matchlake.config import load_config
from matchlake.dev.sandbox.broker import start_broker, stop_broker
from matchlake.dev.sandbox.topics import create_topic
from matchlake.ingest.streams.replay import Replay
from matchlake.runtime import Runtime, spark_session

_WARM = 1_000_000
"""Events that each side in the JVM reads, in ten batches, before it is measured: it compiles."""


def main() -> None:
    """Runs the benchmark that the command line describes."""
    options = arguments()
    os.sched_setaffinity(0, set(range(2)))
    with tempfile.TemporaryDirectory(dir=options.folder) as folder, PeakMemory() as memory:
        root = Path(folder)
        broker = start_broker(root, heap="768m").bootstrap
        try:
            spark = spark_session(load_config("demo", [f"lakehouse={root}"]), "bench")
            problem_ = Bench(spark, root, broker, options)
            result = problem_.run()
            spark.stop()
        finally:
            stop_broker(root)
        result["peak_mib"] = memory.peak
    show(result)
    if options.json:
        print(json.dumps(with_marks("ingest", result)))


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=10_000_000)
    parser.add_argument("--partitions", type=int, default=4)
    parser.add_argument("--batch", type=int, default=1_000_000, help="offsets a micro-batch")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--peers", default="from_json,from_json_narrow", help=f"some of {','.join(PEERS)}; or none"
    )
    parser.add_argument("--bad", action="store_true", help="also with 1 %% of invalid records")
    parser.add_argument("--replay", type=int, default=0, help="quarantined records to read again")
    parser.add_argument("--continuous", type=int, default=0, help="seconds of a lasting stream")
    parser.add_argument("--rate", type=int, default=5_000, help="its events a second")
    parser.add_argument("--trigger", default="1 second", help="its trigger")
    parser.add_argument("--folder", help="where its data lie; default: the system's own")
    parser.add_argument("--json", action="store_true", help="print one JSON object as last line")
    return parser.parse_args()


class Bench:
    """One broker, one session, and what is measured with them."""

    def __init__(
        self, spark: SparkSession, root: Path, broker: str, options: argparse.Namespace
    ) -> None:
        self.spark, self.root, self.broker, self.options = spark, root, broker, options

    def run(self) -> dict[str, Any]:
        options = self.options
        result: dict[str, Any] = {"bench": "ingest", "events": options.events, "better": "higher"}
        result |= {"ratio": {}, "rates": {}, "partitions": options.partitions, "cores": 2}
        self.fill("small", _WARM, bad=100)
        self.ours("warm", "small", _WARM // 10)
        if options.events:
            result |= self.throughput()
        if options.replay:
            result["replay"] = self.replay(options.replay)
        if options.continuous:
            from tests.benchmarks.ingest_latency import latency  # noqa: PLC0415 - its own part

            result["continuous"] = latency(self.spark, self.root, self.broker, options)
        names = ("pyspark", "delta-spark", "kafka-python", "pyarrow")
        return result | {"versions": {name: version(name) for name in names}}

    def throughput(self) -> dict[str, Any]:
        """Each side in turn, as often as there are rounds; medians of records a second."""
        options = self.options
        self.fill("valid", options.events, bad=0)
        sides: dict[str, Callable[[str], float]] = {
            "matchlake": lambda name: self.ours(name, "valid")
        }
        if options.bad:
            self.fill("mixed", options.events, bad=100)
            sides["one_percent_bad"] = lambda name: self.ours(name, "mixed")
        peers = [name for name in options.peers.split(",") if name != "none"]
        sides |= {name: self.peer_side(PEERS[name]) for name in peers}
        for name in (each for each in peers if PEERS[each].most is None):
            folder = self.root / "peers" / f"warm_{name}"
            small = argparse.Namespace(**{**vars(options), "batch": _WARM // 10})
            PEERS[name].run(self.spark, self.broker, "small", folder, small)
        seconds: dict[str, list[float]] = {name: [] for name in sides}
        for round_ in range(options.rounds):
            for name, side in sides.items():
                seconds[name].append(side(f"{name}_{round_}"))
                print(f"{name}: {seconds[name][-1]:.1f} s", file=sys.stderr)
        most = {name: peer.most for name, peer in PEERS.items() if peer.most is not None}
        rates = {
            name: round(
                min(options.events, most.get(name, options.events)) / statistics.median(each)
            )
            for name, each in seconds.items()
        }
        ratios = {
            name: round(rates["matchlake"] / rate, 3)
            for name, rate in rates.items()
            if name in PEERS
        }
        if "one_percent_bad" in rates:
            ratios["clean"] = round(rates["one_percent_bad"] / rates["matchlake"], 3)
        each = {name: [round(s, 1) for s in all_] for name, all_ in seconds.items()}
        return {"ratio": ratios, "rates": rates, "seconds": each}

    def fill(self, topic: str, events: int, *, bad: int) -> None:
        """Makes the topic and writes events of 88 bytes; one in `bad` is none."""
        create_topic(self.broker, topic, self.options.partitions)
        texts = self.spark.range(0, events, 1, 2 * self.options.partitions).select(
            (F.col("id") % self.options.partitions).cast("int").alias("partition"),
            event_text(F.col("id"), bad).alias("value"),
        )
        writer = texts.write.format("kafka").option("kafka.bootstrap.servers", self.broker)
        writer.option("kafka.linger.ms", "20").option("topic", topic).save()

    def ours(self, name: str, topic: str, batch: int | None = None) -> float:
        """Seconds of the job as it is, with the reconciliation at its end."""
        runtime = with_ingest(self.runtime(name, topic, batch), reconcile_at_end=True)
        begin = time.perf_counter()
        INGEST_EVENTS(runtime)
        seconds = time.perf_counter() - begin
        counts = batch_log_of(runtime).reconcile().total
        assert counts.offsets == counts.valid + counts.quarantined
        return seconds

    def runtime(self, name: str, topic: str, batch: int | None = None) -> Runtime:
        """A stream of its own, `name`, that reads the topic."""
        runtime = one_stream(self.spark, self.root / "ours", self.broker, name)
        return with_stream(
            runtime, topic=topic, max_offsets_per_trigger=batch or self.options.batch
        )

    def peer_side(self, peer: Peer) -> Callable[[str], float]:
        """Seconds of a peer; its table is compared with ours of the same round: all in the last."""

        def side(name: str) -> float:
            folder = self.root / "peers" / name
            begin = time.perf_counter()
            peer.run(self.spark, self.broker, "valid", folder, self.options)
            seconds = time.perf_counter() - begin
            if peer.most is None:
                round_ = int(name.rpartition("_")[2])
                ours = self.spark.table(f"matchlake_{round_}.events").select(*peer.columns)
                theirs = self.spark.read.format("delta").load(str(folder / "table"))
                assert theirs.count() == ours.count()
                if round_ == self.options.rounds - 1:
                    require_equal(theirs.select(*peer.columns), ours)
            return seconds

        return side

    def replay(self, count: int) -> dict[str, Any]:
        """Seconds to turn so many quarantined records into valid rows, and to reconcile."""
        create_topic(self.broker, "replayed", self.options.partitions)
        events = self.spark.range(count).select(
            F.regexp_replace(event_text(F.col("id"), 0), '"rating":...', '"rating":9.0').alias(
                "value"
            )
        )
        events.write.format("kafka").option("kafka.bootstrap.servers", self.broker).option(
            "topic", "replayed"
        ).save()
        runtime = self.runtime("again", "replayed")
        INGEST_EVENTS(runtime)
        before = batch_log_of(runtime).reconcile().total
        columns = dict(runtime.config.streams["again"].columns)
        columns["rating"] = columns["rating"].model_copy(update={"max": 10})
        wider = with_stream(runtime, columns=columns, schema_version=2)
        batch_log = batch_log_of(wider)
        begin = time.perf_counter()
        done = Replay(batch_log.stream, wider.lakehouse).run(batch_log)
        after = batch_log.reconcile().total
        seconds = time.perf_counter() - begin
        assert (before.quarantined, done.passed, after.valid) == (count, count, count)
        return {"records": count, "seconds": round(seconds, 1)}


def event_text(number: Any, bad: int) -> Any:
    """An event of 88 bytes as JSON text; one in `bad` misses its last character."""
    text = F.format_string(
        '{"user_id":"u%06d","item_id":"i%05d","rating":%.1f,"event_time":"2024-05-%02dT%02d:%02d:%02dZ"}',
        (number * 7919) % 1_000_000,
        (number * 104_729) % 60_000,
        (number % 9 + 2) / 2,
        number % 28 + 1,
        number % 24,
        number % 60,
        (number * 7) % 60,
    )
    return (
        F.when(number % bad == 0, text.substr(F.lit(1), F.lit(60))).otherwise(text) if bad else text
    )


def require_equal(theirs: DataFrame, ours: DataFrame) -> None:
    """Raises AssertionError unless both hold the same rows, as often."""
    assert not theirs.exceptAll(ours).head(1), "the peer has rows that we have not"
    assert not ours.exceptAll(theirs).head(1), "we have rows that the peer has not"


def show(result: dict[str, Any]) -> None:
    """The figures as a table."""
    print(
        f"{result['events']:,} events, {result['partitions']} partitions, {result['cores']} cores, "
        f"peak {result['peak_mib']} MiB"
    )
    if result["rates"]:
        print(f"{'side':<18}{'records/s':>12}{'ours/theirs':>12}  seconds")
    for name, rate in result["rates"].items():
        seconds = ", ".join(map(str, result["seconds"][name]))
        print(f"{name:<18}{rate:>12,}{result['ratio'].get(name, ''):>12}  {seconds}")
    for part in ("replay", "continuous"):
        if part in result:
            print(f"{part}: {', '.join(f'{k} {v}' for k, v in result[part].items())}")


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    main()
