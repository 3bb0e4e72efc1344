"""A stale run, and all other ways to lose or double a batch without an error."""

from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession
from tests.support.committed import ingest_in, offsets, plan, prepared, write

from matchlake.errors import CheckpointMismatchError, ReconciliationError
from matchlake.ingest.streams.audit import BatchLog
from matchlake.ingest.streams.batch_writer import BatchWriter
from matchlake.ingest.streams.gaps import no_cause

LAWS = {
    "fence": "_require_harmless",
    "offsets": "is_next",
    "look for its own commit": "require_written",
}
"""The checks of a batch writer, and their methods."""


def without_laws(patch: pytest.MonkeyPatch, *kept: str) -> None:
    """Switches off all checks of a batch writer but those."""
    for law, method in LAWS.items():
        if law not in kept:
            patch.setattr(BatchWriter, method, lambda *_: True)


def test_batch_stale_run_is_refused_without_loss(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = ingest_in(spark, tmp_path, "stale")
    stalled = prepared(at, monkeypatch)
    for batch in range(3):
        write(stalled, batch, 10 * batch + 10)
    anew = prepared(at, monkeypatch, rewind_to={"stale": 1})
    write(anew, 0, 15, checkpoint="c2")

    with pytest.raises(
        CheckpointMismatchError, match=r"stale: this is a stale run: .* generation 1\)"
    ):
        write(stalled, 3, 40)
    for batch, end in enumerate((20, 30, 45, 54), start=1):
        write(anew, batch, end, checkpoint="c2")
    assert offsets(at) == list(range(54)), "0 lost, 0 doubled"
    at.batch_log.update(no_cause)
    assert at.batch_log.reconcile().total.offsets == 54


@pytest.mark.parametrize(
    "law",
    [
        pytest.param("fence", marks=pytest.mark.soak),
        pytest.param("look for its own commit", marks=pytest.mark.soak),
        pytest.param("none", marks=pytest.mark.soak),
    ],
)
def test_batch_one_check_alone_stops_a_stale_run(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, law: str
) -> None:
    """The generation is fenced, so Delta skips its batches even without any check."""
    name = f"law_{law[:4]}"
    at = ingest_in(spark, tmp_path, name)
    stalled = prepared(at, monkeypatch)
    write(stalled, 0, 10)
    anew = prepared(at, monkeypatch, accept_data_loss=(name,))
    with monkeypatch.context() as patch:
        without_laws(patch, law)
        if law == "fence":
            with pytest.raises(CheckpointMismatchError, match="this is a stale run: a recovery"):
                write(stalled, 1, 20)
        else:
            write(stalled, 1, 20)
    if law != "fence":
        with pytest.raises(CheckpointMismatchError, match="this is a stale run: a recovery"):
            stalled.writer().require_written(spark)
    assert offsets(at) == list(range(10))
    write(anew, 0, 15, checkpoint="c2")
    assert offsets(at) == list(range(15))
    at.batch_log.update(no_cause)
    assert at.batch_log.reconcile().total.offsets == 15


@pytest.mark.soak
def test_batch_skipped_by_delta_is_refused_unless_written(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = ingest_in(spark, tmp_path, "skipped")
    stream = prepared(at, monkeypatch)
    write(stream, 0, 10)
    write(stream, 1, 20)
    write(stream, 1, 20)  # as after a kill before Spark held it for done
    without_laws(monkeypatch, "look for its own commit")
    write(stream, 1, 20)
    stream.account()
    Path(stream.ingest.checkpoint.path, "offsets/1").unlink()
    write(stream, 1, 23)  # Delta skips it
    with pytest.raises(
        CheckpointMismatchError, match="Delta skipped batch 1 of checkpoint generation"
    ):
        stream.account()
    assert offsets(at) == list(range(20))


def test_batch_not_contiguous_is_refused(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = ingest_in(spark, tmp_path, "refused")
    stream = prepared(at, monkeypatch)
    write(stream, 0, 10)
    without_laws(monkeypatch, "offsets")
    plan(stream, 1, 45)  # a batch that never came here
    with pytest.raises(CheckpointMismatchError, match=r"batch 2 .* version \d+ is batch 0"):
        write(stream, 2, 54)
    assert offsets(at) == list(range(10))


@pytest.mark.parametrize("begin", [pytest.param(45, marks=pytest.mark.soak), 15])
def test_update_unlinked_batches_are_found(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, begin: int
) -> None:
    """Batch 1 ends at 20: 25 offsets are in no batch, or 5 in two."""
    at = ingest_in(spark, tmp_path, f"unlinked_{begin}")
    stream = prepared(at, monkeypatch)
    write(stream, 0, 10)
    write(stream, 1, 20)
    logged = Path(stream.ingest.checkpoint.path) / "offsets/1"
    logged.write_text(logged.read_text().replace("20", str(begin)))
    without_laws(monkeypatch)
    write(stream, 2, 54)
    told = rf"batch 2 of .* begins at offset {begin}, but the one before it ended at 20"
    for _ in range(2):  # and each time again
        with pytest.raises(ReconciliationError, match=told):
            at.batch_log.update(no_cause)


@pytest.mark.soak
@pytest.mark.parametrize("step", ["_write", "_count"])
def test_reconcile_late_entry_of_a_stale_run_is_deleted(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """The run stalls in its entry, before or after it has counted the rows that go away."""
    at = ingest_in(spark, tmp_path, f"late{step}")
    stalled = prepared(at, monkeypatch)
    write(stalled, 0, 4)
    write(stalled, 1, 8)
    enter = getattr(BatchLog, step)

    def after_a_way_out(batch_log: BatchLog, *given: Any) -> Any:
        monkeypatch.setattr(BatchLog, step, enter)
        prepared(at, monkeypatch, rewind_to={at.name: 1})
        return enter(batch_log, *given)

    monkeypatch.setattr(BatchLog, step, after_a_way_out)
    with pytest.raises(CheckpointMismatchError, match="this is a stale run"):
        stalled.account()
    assert at.batch_log.rows().where("batch_id = 1").count() == 1, "of rows that are gone"
    assert at.batch_log.reconcile(no_cause).total.offsets == 4
    write(prepared(at, monkeypatch), 0, 9, checkpoint="c2")
    assert at.batch_log.reconcile(no_cause).total.offsets == 9
