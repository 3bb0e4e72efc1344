"""The consistency checks of a stream at its start, and the recovery options."""

import shutil
from pathlib import Path

import pytest
from kafka import KafkaAdminClient
from pyspark.sql import SparkSession
from pyspark.sql.streaming.readwriter import DataStreamWriter
from tests.support.streams import (
    batch_log_of,
    ingest,
    one_stream,
    produce,
    valid_value,
    with_ingest,
)

from matchlake.dev.sandbox.topics import create_topic
from matchlake.errors import CheckpointMismatchError, ReconciliationError
from matchlake.ingest.streams import runner
from matchlake.runtime import Runtime


def offsets(runtime: Runtime, table: str) -> list[int]:
    return sorted(row.offset for row in runtime.lakehouse.read(table).select("offset").collect())


@pytest.mark.soak
def test_a_restore_stops_the_stream_and_each_way_out_leads_on(
    spark: SparkSession, tmp_path: Path, broker: str
) -> None:
    runtime = one_stream(spark, tmp_path, broker, "restored", max_offsets_per_trigger=4)
    table = runtime.lakehouse.name("restored.events")
    produce(broker, "restored", [valid_value(n) for n in range(8)])
    assert ingest(runtime).valid == 8
    spark.sql(f"RESTORE TABLE {table} TO VERSION AS OF 1")
    produce(broker, "restored", [valid_value(8), b"bad"])

    with pytest.raises(CheckpointMismatchError) as stopped:
        ingest(runtime)
    assert "restored.events was changed by RESTORE to version 1 (version 3" in str(stopped.value)
    assert "batch 1 is no longer in it" in str(stopped.value)
    for way in (
        "--accept-data-loss restored continues",
        "--rewind-to restored=1 reads",
        "--reset-checkpoint restored",
    ):
        assert way in str(stopped.value)
    assert offsets(runtime, "restored.events") == [0, 1, 2, 3], "nothing was written"

    ingest(with_ingest(runtime, rewind_to={"restored": 1}))
    assert offsets(runtime, "restored.events") == list(range(10))
    counts = ingest(runtime)
    assert (counts.offsets, counts.valid, counts.quarantined, counts.gaps) == (10, 9, 1, 0)

    spark.sql(f"RESTORE TABLE {table} TO VERSION AS OF 1")
    adopting = ingest(with_ingest(runtime, accept_data_loss=("restored",)))
    assert (adopting.valid, adopting.gaps) == (4, 6), "what was lost is a gap with a cause"
    produce(broker, "restored", [valid_value(10)])
    assert ingest(runtime).valid == 5
    assert batch_log_of(runtime).gaps() == {"accepted": 6}
    assert offsets(runtime, "restored.events") == [0, 1, 2, 3, 10]

    with pytest.raises(
        CheckpointMismatchError, match="has rows of this topic, and would get them twice"
    ):
        ingest(with_ingest(runtime, reset_checkpoint=("restored",)))


def test_two_runs_that_make_one_checkpoint_at_once_are_distinguished(
    spark: SparkSession, tmp_path: Path, broker: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime = one_stream(spark, tmp_path, broker, "twin")
    produce(broker, "twin", [valid_value(0)])
    jvm = spark._jvm
    assert jvm is not None
    streaming = jvm.org.apache.spark.sql.execution.streaming.runtime.StreamMetadata
    file = jvm.org.apache.hadoop.fs.Path(f"{tmp_path}/checkpoints/twin/0/metadata")
    (tmp_path / "checkpoints" / "twin" / "0").mkdir(parents=True)

    def start_second(_: DataStreamWriter) -> None:
        """What Spark does when it has found no file and another run writes it first."""
        hadoop = spark.sparkContext._jsc.hadoopConfiguration()
        for run in ("first", "second"):
            streaming.write(streaming(run), file, hadoop)

    with monkeypatch.context() as patch:
        patch.setattr(DataStreamWriter, "start", start_second)
        with pytest.raises(
            CheckpointMismatchError, match="twin: another run of this stream is under way"
        ):
            ingest(runtime)
    shutil.rmtree(tmp_path / "checkpoints" / "twin")
    assert ingest(runtime).valid == 1


@pytest.mark.soak
def test_a_checkpoint_that_is_gone_or_of_another_stream_stops_it(
    spark: SparkSession, tmp_path: Path, broker: str
) -> None:
    runtime = one_stream(spark, tmp_path, broker, "parted")
    other = one_stream(spark, tmp_path, broker, "stranger")
    for each in ("parted", "stranger"):
        produce(broker, each, [valid_value(n) for n in range(3)])
    ingest(runtime)
    ingest(other)
    checkpoint = tmp_path / "checkpoints" / "parted"
    checkpoint.rename(tmp_path / "kept")

    with pytest.raises(
        CheckpointMismatchError, match=r"no checkpoint at .*parted/0, but parted\.events has 1 b"
    ):
        ingest(runtime)
    shutil.copytree(tmp_path / "checkpoints" / "stranger", checkpoint)
    with pytest.raises(
        CheckpointMismatchError, match=r"but parted\.events was written by stream parted f"
    ):
        ingest(runtime)
    shutil.rmtree(checkpoint)
    produce(broker, "parted", [valid_value(3)])
    assert ingest(with_ingest(runtime, accept_data_loss=("parted",))).valid == 4
    assert offsets(runtime, "parted.events") == [0, 1, 2, 3], "goes on after the last, once"

    shutil.rmtree(checkpoint)
    shutil.copytree(tmp_path / "kept", checkpoint)
    with pytest.raises(CheckpointMismatchError, match=r"no checkpoint at .*parted/1, but"):
        ingest(runtime)
    shutil.copytree(checkpoint / "0", checkpoint / "1")
    with pytest.raises(
        CheckpointMismatchError, match=r"but parted\.events was written by stream parted f"
    ):
        ingest(runtime)


@pytest.mark.soak
def test_a_table_that_was_replaced_or_has_lost_its_rows_stops_it(
    spark: SparkSession, tmp_path: Path, broker: str
) -> None:
    runtime = one_stream(spark, tmp_path, broker, "replaced")
    table = runtime.lakehouse.name("replaced.events")
    produce(broker, "replaced", [valid_value(n) for n in range(3)])
    ingest(runtime)
    folder = Path(str(runtime.lakehouse.path("replaced.events")))
    shutil.copytree(folder, tmp_path / "copy")

    produce(broker, "replaced", [valid_value(3)])
    ingest(runtime)
    spark.sql(f"DELETE FROM {table} WHERE batch_id = 1")
    with pytest.raises(
        CheckpointMismatchError,
        match=r"was changed by DELETE \(version \d+, .*\) after its last batch, and batch 1 is no",
    ):
        ingest(runtime)

    spark.sql(f"DROP TABLE {table}")
    shutil.rmtree(folder)
    shutil.copytree(tmp_path / "copy", folder)
    with pytest.raises(
        CheckpointMismatchError, match="checkpoint marks batch 1 as done: the table is an"
    ):
        ingest(runtime)

    spark.sql(f"DROP TABLE {table}")
    shutil.rmtree(folder)
    with pytest.raises(
        CheckpointMismatchError, match=r"no trace of the 2 batches .* table was replaced"
    ):
        ingest(runtime)
    assert ingest(with_ingest(runtime, reset_checkpoint=("replaced",))).valid == 4
    assert ingest(runtime).offsets == 4


@pytest.mark.soak
def test_a_topic_made_anew_stops_it_and_is_read_beside_the_old_rows(
    spark: SparkSession, tmp_path: Path, broker: str
) -> None:
    runtime = one_stream(spark, tmp_path, broker, "remade")
    produce(broker, "remade", [valid_value(n) for n in range(3)])
    ingest(runtime)
    with KafkaAdminClient(bootstrap_servers=broker) as admin:
        admin.delete_topics(["remade"])
    create_topic(broker, "remade", 1)
    produce(broker, "remade", [valid_value(n) for n in range(5)])

    with pytest.raises(
        CheckpointMismatchError, match=r"topic remade was deleted and created again: it has id"
    ):
        ingest(runtime)
    counts = ingest(with_ingest(runtime, reset_checkpoint=("remade",)))
    assert (counts.offsets, counts.valid) == (8, 8)
    assert offsets(runtime, "remade.events") == [0, 0, 1, 1, 2, 2, 3, 4]


@pytest.mark.soak
def test_a_topic_made_anew_that_has_outgrown_the_position_stops_it_without_ids(
    spark: SparkSession, tmp_path: Path, broker: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = runner.topic_state
    monkeypatch.setattr(runner, "topic_state", lambda *at: known(*at)._replace(id=None))
    runtime = one_stream(spark, tmp_path, broker, "outgrown", partitions=2)
    for part in (0, 1):
        produce(broker, "outgrown", [valid_value(n) for n in range(3)], partition=part)
    ingest(runtime)
    produce(broker, "outgrown", [None], partition=1)
    ingest(runtime)
    ingest(runtime)
    with KafkaAdminClient(bootstrap_servers=broker) as admin:
        admin.delete_topics(["outgrown"])
    create_topic(broker, "outgrown", 2)
    for part in (0, 1):
        produce(broker, "outgrown", [valid_value(n) for n in range(9)], partition=part)
    with pytest.raises(
        CheckpointMismatchError,
        match=r"partition \d of topic outgrown holds another record at offset \d",
    ):
        ingest(runtime)
    assert runtime.lakehouse.read("outgrown.events").count() == 7, "nothing was written"


@pytest.mark.soak
def test_a_second_writer_of_the_same_table_is_stopped(
    spark: SparkSession, tmp_path: Path, broker: str
) -> None:
    runtime = one_stream(spark, tmp_path, broker, "shared")
    produce(broker, "shared", [valid_value(n) for n in range(3)])
    ingest(runtime)
    elsewhere = runtime.config.model_copy(update={"checkpoints": str(tmp_path / "elsewhere")})
    second = Runtime(spark, elsewhere, runtime.lakehouse, runtime.secrets, runtime.tracker)
    with pytest.raises(
        CheckpointMismatchError, match=r"no checkpoint at .*elsewhere.shared/0, but shared\."
    ):
        ingest(second)
    assert ingest(runtime).valid == 3


@pytest.mark.soak
def test_a_loss_or_doubling_is_found_with_its_ranges(
    spark: SparkSession, tmp_path: Path, broker: str
) -> None:
    runtime = one_stream(spark, tmp_path, broker, "doubled")
    table = runtime.lakehouse.name("doubled.events")
    produce(broker, "doubled", [valid_value(n) for n in range(200)])
    ingest(runtime)
    spark.sql(f"DELETE FROM {table} WHERE offset IN (3, 100, 101)")
    spark.sql(f"INSERT INTO {table} SELECT * FROM {table} e WHERE e.offset IN (7, 64)")
    with pytest.raises(ReconciliationError) as found:
        batch_log_of(runtime).reconcile()
    told = "partition 0, batch 0 (0 to 199)"
    assert f"{told}: missing: offset 3, offsets 100 to 101" in str(found.value)
    assert f"{told}: more than once: offset 7, offset 64" in str(found.value)
