"""The batch log, gaps, and the replay of quarantined records, with a real broker."""

from datetime import timedelta
from pathlib import Path

import pytest
from kafka import KafkaAdminClient, KafkaProducer, TopicPartition
from pyspark.sql import SparkSession
from pyspark.testing import assertDataFrameEqual
from tests.support.streams import (
    INGEST_EVENTS,
    batch_log_of,
    ingest,
    one_stream,
    produce,
    valid_value,
    with_stream,
)

from matchlake.errors import InputError, ParameterError, ReconciliationError, SourceError
from matchlake.ingest.streams.gaps import no_cause
from matchlake.ingest.streams.replay import Replay, Replayed
from matchlake.runtime import Runtime


def delete_records(broker: str, topic: str, before: int) -> None:
    with KafkaAdminClient(bootstrap_servers=broker) as admin:
        admin.delete_records({TopicPartition(topic, 0): before})


def test_the_batch_log_has_every_batch_and_can_be_rebuilt(
    spark: SparkSession, tmp_path: Path, broker: str
) -> None:
    runtime = one_stream(
        spark,
        tmp_path,
        broker,
        "told",
        partitions=2,
        max_offsets_per_trigger=6,
        lateness_threshold_seconds=60,
    )
    values = [valid_value(1), b"{", valid_value(2), b"no", valid_value(3, rating=9)]
    produce(broker, "told", values, partition=0)
    produce(broker, "told", [valid_value(n) for n in range(4)], partition=1)
    counts = ingest(runtime)
    assert (counts.offsets, counts.valid, counts.quarantined, counts.gaps) == (9, 6, 3, 0)

    with KafkaAdminClient(bootstrap_servers=broker) as admin:
        admin.create_partitions({"told": 3})
    produce(broker, "told", [valid_value(7)], partition=2)
    assert ingest(runtime).offsets == 10, "an added partition is read from its first record"

    batch_log = batch_log_of(runtime)
    rows = batch_log.rows().orderBy("batch_id", "partition").collect()
    ranges = {
        part: [(row.first_offset, row.end_offset) for row in rows if row.partition == part]
        for part in (0, 1, 2)
    }
    assert ranges[0][0][0] == ranges[1][0][0] == 0
    assert (ranges[0][-1][1], ranges[1][-1][1], ranges[2]) == (5, 4, [(0, 1)])
    codes: dict[str, int] = {}
    for row in rows:
        for code, records in row.error_codes:
            codes[code] = codes.get(code, 0) + records
    assert codes == {"malformed_json": 2, "out_of_range": 1}
    assert sum(row.bytes for row in rows) == sum(
        map(len, [*values, *(valid_value(n) for n in range(4)), valid_value(7)])
    )
    assert sum(row.late for row in rows) == 7, "events of 2024"
    assert {row.topic for row in rows} == {"told"}
    assert len({(row.stream, row.topic_id, row.checkpoint_id) for row in rows}) == 1
    assert all(0 <= row.seconds < 600 and row.table_version > 0 for row in rows)

    before = spark.createDataFrame(batch_log.rows().collect(), batch_log.rows().schema)
    version = runtime.lakehouse.version("told.batches")
    batch_log.update(no_cause, rebuild=True)
    batch_log.update(no_cause)
    assertDataFrameEqual(batch_log.rows(), before)
    spark.sql(f"TRUNCATE TABLE {runtime.lakehouse.name('told.batches')}")
    batch_log.update(no_cause)
    assertDataFrameEqual(batch_log.rows(), before)
    assert runtime.lakehouse.version("told.batches") > version


@pytest.mark.soak
def test_records_removed_by_the_broker_fail_the_run_or_are_a_gap(
    spark: SparkSession, tmp_path: Path, broker: str
) -> None:
    runtime = one_stream(spark, tmp_path, broker, "expired")
    produce(broker, "expired", [valid_value(n) for n in range(3)])
    assert ingest(runtime).valid == 3
    produce(broker, "expired", [valid_value(n) for n in range(3, 9)])
    delete_records(broker, "expired", 7)

    with pytest.raises(SourceError) as failed:
        ingest(runtime)
    assert "partition 0: offsets 3 to 6" in str(failed.value)
    assert "streams.expired.on_data_loss: record" in str(failed.value)

    counts = ingest(with_stream(runtime, on_data_loss="record"))
    assert (counts.offsets, counts.valid, counts.gaps) == (9, 5, 4)
    assert batch_log_of(runtime).gaps() == {"retention": 4}
    assert ingest(runtime).offsets == 9, "what is recorded stays recorded"
    spark.sql(f"DELETE FROM {runtime.lakehouse.name('expired.events')} WHERE offset = 8")
    with pytest.raises(ReconciliationError, match="missing: offset 8"):
        batch_log_of(runtime).reconcile()


@pytest.mark.soak
def test_records_removed_while_they_are_read_stop_the_run_with_instructions(
    spark: SparkSession, tmp_path: Path, broker: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime = one_stream(spark, tmp_path, broker, "cut", max_offsets_per_trigger=2)
    produce(broker, "cut", [valid_value(n) for n in range(6)])
    ingest(runtime)
    produce(broker, "cut", [valid_value(n) for n in range(6, 9)])
    monkeypatch.setattr(
        "matchlake.ingest.streams.runner.require_held", lambda *_: delete_records(broker, "cut", 8)
    )
    with pytest.raises(
        SourceError, match=r"cut: Kafka no longer retains all .*on_data_loss: record"
    ):
        ingest(runtime)
    counts = ingest(with_stream(runtime, on_data_loss="record"))
    assert (counts.offsets, counts.valid, counts.gaps) == (9, 7, 2)


@pytest.mark.soak
def test_gaps_of_transactions_are_distinguished_from_losses(
    spark: SparkSession, tmp_path: Path, broker: str
) -> None:
    runtime = one_stream(spark, tmp_path, broker, "dealt")
    producer = KafkaProducer(bootstrap_servers=broker, transactional_id="dealt")
    producer.init_transactions()
    for number, commit in enumerate((True, False, True)):
        producer.begin_transaction()
        for _ in range(2):
            producer.send("dealt", valid_value(number), partition=0)
        producer.flush()
        producer.commit_transaction() if commit else producer.abort_transaction()
    producer.close()
    counts = ingest(runtime)
    assert (counts.valid, counts.gaps) == (4, counts.offsets - 4)
    assert counts.offsets in (8, 9), "the last marker may not be reached yet"
    assert set(batch_log_of(runtime).gaps()) == {"transaction"}
    assert ingest(runtime).valid == 4


def quarantine(runtime: Runtime, stream: str) -> list[tuple[int, str, int]]:
    rows = runtime.lakehouse.read(f"{stream}.quarantine").orderBy("offset").collect()
    return [(row.offset, row["_error_code"], row.attempt) for row in rows]


@pytest.mark.soak
def test_a_replay_turns_records_that_pass_now_into_valid_rows_in_place(
    spark: SparkSession, tmp_path: Path, broker: str
) -> None:
    runtime = one_stream(spark, tmp_path, broker, "replayed")
    producer = KafkaProducer(bootstrap_servers=broker)
    producer.send(
        "replayed", valid_value(0, rating=7), b"k", headers=[("trace", b"\x01")], partition=0
    )
    producer.close()
    produce(
        broker,
        "replayed",
        [valid_value(1), b"oops", valid_value(2, rating=8), valid_value(3, rating=70)],
    )
    ingest(runtime)
    first = runtime.lakehouse.read("replayed.quarantine").where("offset = 0").collect()[0]
    assert first.raw.headers == [("trace", b"\x01")]
    assert (first.raw.key, first.schema_version, first.attempt) == (b"k", 1, 1)

    stream = runtime.config.streams["replayed"]
    wider = stream.columns["rating"].model_copy(update={"max": 10})
    changed = with_stream(runtime, columns=stream.columns | {"rating": wider}, schema_version=2)
    later = (first.kafka_timestamp + timedelta(days=1)).isoformat()
    entry, batch_log = changed.config.streams["replayed"], batch_log_of(changed)
    assert Replay(entry, changed.lakehouse, since=later).run(batch_log) == Replayed(0, 0)
    replay = Replay(entry, changed.lakehouse, ("out_of_range",))
    assert replay.run(batch_log) == Replayed(3, 2)
    assert quarantine(changed, "replayed") == [(2, "malformed_json", 1), (4, "out_of_range", 2)]
    row = changed.lakehouse.read("replayed.events").where("offset = 0").collect()[0]
    assert (row["_status"], row.user_id, row.rating, row["_error_code"]) == (
        "valid",
        "u0",
        7.0,
        None,
    )
    assert (row.attempt, row.schema_version, row.raw) == (2, 2, None)
    counts = batch_log.reconcile().total
    assert (counts.offsets, counts.valid, counts.quarantined) == (5, 3, 2)

    wrong = Replay(entry, changed.lakehouse, ("out_of_range",), fix="replace(value, '-', '')")
    assert wrong.run(batch_log) == Replayed(1, 0)
    assert quarantine(changed, "replayed") == [(2, "malformed_json", 1), (4, "out_of_range", 3)]
    fix = "regexp_replace(value, '\"rating\": 70', '\"rating\": 7')"
    assert Replay(entry, changed.lakehouse, ("out_of_range",), fix=fix).run(batch_log).passed == 1
    fixed = changed.lakehouse.read("replayed.events").where("offset = 4").collect()[0]
    assert (fixed["_status"], fixed.rating, fixed.attempt) == ("valid", 7.0, 4)
    assert b'"rating": 70' in fixed.raw.value, "what came stays where a fix made it pass"
    assert replay.run(batch_log) == Replayed(0, 0)
    assert ingest(changed).quarantined == 1
    with pytest.raises(
        ParameterError, match=r"Unknown error code late\. The codes are: tombstone, empty"
    ):
        Replay(entry, changed.lakehouse, ("late",)).run(batch_log)
    with pytest.raises(ParameterError, match="--fix 'nothing"):
        Replay(entry, changed.lakehouse, fix="nothing(value)").run(batch_log)
    with pytest.raises(ParameterError, match="--fix 'lower"):
        Replay(entry, changed.lakehouse, fix="lower(value").run(batch_log)


@pytest.mark.soak
def test_too_many_quarantined_records_fail_a_batch_before_it_is_written(
    spark: SparkSession, tmp_path: Path, broker: str
) -> None:
    runtime = one_stream(spark, tmp_path, broker, "spoilt", max_quarantined_fraction=0.2)
    produce(broker, "spoilt", [valid_value(0), valid_value(1), b"x", b"", valid_value(2)])
    with pytest.raises(
        InputError,
        match=r"2 of 5 records of batch 0 are quarantined .* max_quarantined_fraction 0.2",
    ):
        INGEST_EVENTS(runtime)
    assert runtime.lakehouse.read("spoilt.events").count() == 0
    assert ingest(with_stream(runtime, max_quarantined_fraction=0.5)).quarantined == 2
