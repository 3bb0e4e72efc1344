"""The batch log and `matchlake reconcile`, with tables and without a broker."""

from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from tests.support.committed import ingest_in, prepared, write
from tests.support.streams import COLUMNS, runtime_in, stream_entry, valid_value
from typer.testing import CliRunner

from matchlake.cli import streams as ingest_commands
from matchlake.cli.main import app
from matchlake.errors import ParameterError, ReconciliationError
from matchlake.ingest.streams.audit import BatchLog
from matchlake.ingest.streams.audit_table import Gap
from matchlake.ingest.streams.entries import Counts
from matchlake.ingest.streams.gaps import accept_all, no_cause
from matchlake.ingest.streams.replay import Replay, Replayed
from matchlake.lakehouse.erasure import Erasure


@pytest.mark.soak
def test_update_missing_offsets_fails_until_a_cause_is_known(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = ingest_in(spark, tmp_path, "untold")
    stream = prepared(at, monkeypatch)
    write(stream, 0, 6, missing=[2, 3])
    for batch in (1, 2):
        with pytest.raises(ReconciliationError, match=r"batch 0 .* missing: offsets 2 to 3"):
            at.batch_log.update(no_cause)
        write(stream, batch, 6 + batch)
    counts = at.batch_log.update(lambda *given: [(Gap.TRANSACTION, *given[-1][0])])
    assert (counts.offsets, counts.gaps) == (7, 2)
    assert at.batch_log.update(no_cause, rebuild=True) == at.batch_log.reconcile().total
    assert at.batch_log.gaps() == {"transaction": 2}
    spark.sql(f"DELETE FROM {at.lakehouse.name(at.stream.table)} WHERE offset = 5")
    with pytest.raises(ReconciliationError, match="missing: offset 5"):
        at.batch_log.update(accept_all, rebuild=True)


@pytest.mark.soak
def test_reconcile_missing_offsets_exits_with_their_ranges(
    spark: SparkSession,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    at = ingest_in(spark, tmp_path, "proved")
    stream = prepared(at, monkeypatch)
    write(stream, 0, 6)
    streams = {"proved": stream_entry("proved", "proved")}
    runtime = runtime_in(spark, tmp_path, streams=streams, ingest={"batch_log": at.batch_log.table})
    monkeypatch.setattr(ingest_commands, "start_quietly", lambda *_: runtime)
    done = CliRunner().invoke(app, ["reconcile"])
    assert (done.exit_code, done.stdout) == (
        0,
        "proved: reconciled. 6 offsets = 6 valid + 0 quarantined + 0 erased + 0 in gaps.\n",
    )
    write(stream, 1, 9, missing=[7])
    spark.sql(f"DELETE FROM {at.lakehouse.name(at.stream.table)} WHERE offset IN (1, 4, 5)")
    for more in ([], ["--rebuild"]):
        done = CliRunner().invoke(app, ["reconcile", "proved", *more])
        assert done.exit_code == 1
        assert "proved: NOT reconciled." in done.stderr
        assert "missing: offset 7" in done.stderr
    assert "missing: offset 1, offsets 4 to 5" in done.stderr
    assert "topic proved: the broker gives no causes of gaps: No broker" in caplog.text


@pytest.mark.soak
def test_reconcile_running_stream_checks_the_state_at_its_start(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = ingest_in(spark, tmp_path, "beside")
    stream = prepared(at, monkeypatch)
    # A time that Python cannot hold: the zero of Go and .NET.
    write(stream, 0, 3, bad={1: valid_value(1, event_time="0001-01-01T00:00:00Z")})
    enter = BatchLog._enter

    def while_the_stream_goes_on(batch_log: BatchLog, *given: Any, **more: Any) -> Any:
        write(stream, 1, 5)
        entered = enter(batch_log, *given, **more)
        write(stream, 2, 9)
        return entered

    monkeypatch.setattr(BatchLog, "_enter", while_the_stream_goes_on)
    assert at.batch_log.reconcile(no_cause).total == Counts(offsets=3, valid=3)
    monkeypatch.undo()
    with pytest.raises(ReconciliationError, match=r"4 rows .* that the batch log does not have"):
        at.batch_log.reconcile()
    assert at.batch_log.reconcile(no_cause).total.offsets == 9
    first = at.batch_log.rows().where("batch_id = 0").collect()[0]
    assert first.first_event.isoformat() == "2024-05-01T10:00:00"


def test_reconcile_counts_each_row_once(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows of new batches are counted for the log, and all others for the comparison."""
    at = ingest_in(spark, tmp_path, "once")
    stream = prepared(at, monkeypatch)
    counted: list[int] = []
    count = BatchLog._counted

    def counting(batch_log: BatchLog, rows: DataFrame) -> DataFrame:
        counted.append(rows.count())
        return count(batch_log, rows)

    monkeypatch.setattr(BatchLog, "_counted", counting)
    write(stream, 0, 3)
    assert at.batch_log.reconcile(no_cause) == (Counts(3, 3), Counts(3, 3))
    write(stream, 1, 7, bad={4: b"{"})
    assert at.batch_log.reconcile(no_cause) == (Counts(4, 3, 1), Counts(7, 6, 1))
    assert at.batch_log.reconcile(no_cause) == (Counts(), Counts(7, 6, 1))
    assert counted == [3, 0, 4, 3, 7]


@pytest.mark.parametrize(
    ("name", "stray", "told"),
    [
        (
            "stray_a",
            {"checkpoint_id": 5},
            "1 rows from offset 1 to 1 that the batch log does not have",
        ),
        pytest.param(
            *("stray_b", {"batch_id": None}),
            "1 rows from offset 1 to 1 that the batch log does not have",
            marks=pytest.mark.soak,
        ),
        pytest.param(
            *("stray_c", {"batch_id": 0}, "more than once: offset 1"), marks=pytest.mark.soak
        ),
        pytest.param(
            *("stray_d", {"batch_id": 1, "offset": 6}, "more than once: offset 6"),
            marks=pytest.mark.soak,
        ),
        pytest.param(
            *("stray_e", {"batch_id": 1, "offset": 2}, "not of this batch: offset 2"),
            marks=pytest.mark.soak,
        ),
    ],
)
@pytest.mark.soak
def test_reconcile_stray_row_is_found(
    spark: SparkSession,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    stray: dict[str, int | None],
    told: str,
) -> None:
    at = ingest_in(spark, tmp_path, name)
    stream = prepared(at, monkeypatch)
    write(stream, 0, 3)
    at.batch_log.update(no_cause)
    write(stream, 1, 7)
    rows = at.lakehouse.read(at.stream.table)
    types = {name: rows.schema[name].dataType for name in stray}
    one = rows.where("offset = 1").withColumn("batch_id", F.lit(1).cast("bigint"))
    one = one.withColumns({name: F.lit(stray[name]).cast(types[name]) for name in stray})
    one.write.format("delta").mode("append").saveAsTable(at.lakehouse.name(at.stream.table))
    for _ in range(2):  # batch 1 is new at first
        with pytest.raises(ReconciliationError, match=told):
            at.batch_log.reconcile(no_cause)
    with pytest.raises(ReconciliationError, match=told):
        at.batch_log.reconcile()


@pytest.mark.soak
def test_reconcile_replaced_table_names_missing_offsets(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = ingest_in(spark, tmp_path, "replaced")
    stream = prepared(at, monkeypatch)
    write(stream, 0, 3)
    write(stream, 1, 7)
    at.batch_log.update(no_cause)
    table = at.lakehouse.name(at.stream.table)
    kept = at.lakehouse.read(at.stream.table).where("batch_id = 0").collect()
    schema = at.lakehouse.read(at.stream.table).schema
    spark.sql(f"DROP TABLE {table}")
    spark.createDataFrame(kept, schema).write.format("delta").saveAsTable(table)
    with pytest.raises(ReconciliationError, match="missing: offsets 3 to 6"):
        at.batch_log.reconcile(no_cause)


@pytest.mark.soak
def test_erasure_undeclared_column_is_emptied(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    email = {"email": {"type": "string", "required": False, "comment": "e"}}
    wide = prepared(ingest_in(spark, tmp_path, "gone", columns=COLUMNS | email), monkeypatch)
    write(wide, 0, 2, bad={1: valid_value(1, email="u1@example.org")})
    at = ingest_in(spark, tmp_path, "gone")
    at.batch_log.update(no_cause)
    (done,) = Erasure("u1", [at.batch_log], at.lakehouse).run([at.stream.table])
    assert (done.rows, done.left) == (1, 0)
    row = at.lakehouse.read(at.stream.table).where("offset = 1").collect()[0]
    assert (row["_status"], row.user_id, row.email, row.topic) == ("erased", None, None, "gone")
    assert at.batch_log.reconcile().total == Counts(offsets=2, valid=1, erased=1)


@pytest.mark.soak
def test_replay_running_stream_changes_only_earlier_records(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = ingest_in(spark, tmp_path, "again")
    narrow = COLUMNS | {"rating": COLUMNS["rating"] | {"max": 3}}
    stream = prepared(ingest_in(spark, tmp_path, "again", columns=narrow), monkeypatch)
    write(stream, 0, 3, bad={1: valid_value(1, rating=4), 2: valid_value(2, rating=9)})
    at.batch_log.update(no_cause)
    merge = Replay._merge_with_retries

    def while_the_stream_goes_on(replay: Replay) -> None:
        write(stream, 1, 6, bad={4: valid_value(4, rating=4), 5: valid_value(5, rating=9)})
        at.batch_log.update(no_cause)
        merge(replay)

    monkeypatch.setattr(Replay, "_merge_with_retries", while_the_stream_goes_on)
    assert Replay(at.stream, at.lakehouse).run(at.batch_log) == Replayed(2, 1)
    counts = at.batch_log.reconcile().total
    assert (counts.valid, counts.quarantined) == (3, 3)
    with pytest.raises(ParameterError, match="--since 'yesterday' is not a valid time"):
        Replay(at.stream, at.lakehouse, since="yesterday").run(at.batch_log)
