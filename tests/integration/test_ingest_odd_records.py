"""Records that brokers hold and readers do not expect: every codec, odd times, skewed clocks."""

from pathlib import Path

import pytest
from kafka import KafkaAdminClient, KafkaProducer
from pyspark.sql import SparkSession
from tests.support.streams import (
    batch_log_of,
    ingest,
    one_stream,
    valid_value,
)

from matchlake.ingest.streams.audit_table import Gap
from matchlake.ingest.streams.gaps import BrokerCauses
from matchlake.io.kafka import records_at, topic_state

CODECS = ("zstd", *(pytest.param(c, marks=pytest.mark.soak) for c in ("gzip", "snappy", "lz4")))
_NOW = 1714557600123


def make_topic(broker: str, name: str, **configs: str) -> None:
    """A topic with one partition and these settings; dots of their names are underscores."""
    settings = {key.replace("_", "."): value for key, value in configs.items()}
    with KafkaAdminClient(bootstrap_servers=broker) as admin:
        admin.create_topics({name: {"num_partitions": 1, "configs": settings}})
        admin.wait_for_topics([name])


@pytest.mark.parametrize("codec", CODECS)
def test_gaps_of_transactions_are_explained_in_each_codec(broker: str, codec: str) -> None:
    topic = f"codec-{codec}"
    make_topic(broker, topic, compression_type=codec)
    producer = KafkaProducer(bootstrap_servers=broker, transactional_id=topic)
    producer.init_transactions()
    for commit in (True, False, True):
        producer.begin_transaction()
        for number in range(3):
            producer.send(topic, valid_value(number))
        producer.flush()
        producer.commit_transaction() if commit else producer.abort_transaction()
    producer.close()
    client = {"bootstrap_servers": [broker]}
    state = topic_state(client, topic)
    missing = [(3, 8), (11, 12)]  # a commit, three aborted records, an abort; a commit
    causes = BrokerCauses(client, topic)(state.id, 0, missing)
    assert causes == [(Gap.TRANSACTION, first, end) for first, end in missing]
    assert records_at(client, topic, {0: 10})[0].size == len(valid_value(2))


@pytest.mark.soak
def test_a_record_whose_timestamp_overflows_does_not_stop_the_stream(
    spark: SparkSession, tmp_path: Path, broker: str
) -> None:
    make_topic(broker, "odd", message_timestamp_after_max_ms=str(2**63 - 1))
    runtime = one_stream(spark, tmp_path, broker, "odd")
    producer = KafkaProducer(bootstrap_servers=broker)
    times = [_NOW, _NOW * 1_000_000, _NOW, _NOW * 1_000, 0, _NOW * 1_000_000]
    for number, at in enumerate(times):
        headers = [("h", b"1"), ("h", b"\xff")]
        producer.send("odd", valid_value(number), b"k", headers=headers, timestamp_ms=at).get(10)
    producer.close()
    for _ in range(2):  # the second run compares the last row with the record of the broker
        counts = ingest(runtime)
        assert (counts.offsets, counts.valid, counts.quarantined, counts.gaps) == (6, 4, 2, 0)
    rows = spark.sql(
        "SELECT offset, unix_millis(kafka_timestamp) AS at, _error_code, _error_message, raw"
        f" FROM {runtime.lakehouse.name('odd.events')} ORDER BY offset"
    ).collect()
    assert [row.at for row in rows] == [_NOW, None, _NOW, _NOW * 1_000, 0, None]
    odd, _ = [row for row in rows if row._error_code]
    assert (odd.offset, odd._error_code) == (1, "bad_timestamp")
    assert "partition 0, offset 1" in odd._error_message
    assert bytes(odd.raw.value) == valid_value(1)
    assert [(h.key, bytes(h.value)) for h in odd.raw.headers] == [("h", b"1"), ("h", b"\xff")]
    assert batch_log_of(runtime).gaps() == {}
