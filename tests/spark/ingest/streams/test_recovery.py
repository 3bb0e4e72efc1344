"""The recovery options of a stream, and what they refuse before they change anything."""

import dataclasses
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession
from tests.support.committed import TOPIC, ingest_in, messages, offsets, plan, prepared, write
from tests.support.streams import valid_value

from matchlake.errors import CheckpointMismatchError, ReconciliationError, SourceError
from matchlake.ingest.streams.batch_writer import BatchWriter
from matchlake.ingest.streams.gaps import no_cause
from matchlake.ingest.streams.recovery import Recovery
from matchlake.ingest.streams.runner import PreparedStream


@pytest.mark.soak
def test_rewind_offsets_not_held_are_not_deleted(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = ingest_in(spark, tmp_path, "back")
    first = prepared(at, monkeypatch)
    write(first, 0, 4)
    write(first, 1, 8)
    recovery = dataclasses.replace(first.recovery, state=first.recovery.check.read_state())
    with pytest.raises(SourceError, match=r"partition 0: 4 to 7, held: 5 to 99"):
        recovery.rewind_to(1, TOPIC._replace(earliest={0: 5}))
    with pytest.raises(SourceError, match=r"partition 0: 0 to 7, held: 0 to 5"):
        recovery.rewind_to(0, TOPIC._replace(latest={0: 6}))
    remade = TOPIC._replace(id="t2")
    for way in (partial(recovery.rewind_to, 1), recovery.accept_data_loss):
        with pytest.raises(
            CheckpointMismatchError, match=r"created again since .* --reset-checkpoint back reads"
        ):
            way(remade)
    spark.sql(f"DELETE FROM {at.lakehouse.name(at.stream.table)} WHERE offset IN (4, 5)")
    removed = TOPIC._replace(earliest={0: 5})
    with pytest.raises(SourceError, match=r"partition 0: offset 4\). Nothing was read"):
        prepared(at, monkeypatch, removed, rewind_to={"back": 1})
    assert (offsets(at), at.checkpoint.id()) == ([0, 1, 2, 3, 6, 7], 0xC1), "nothing was changed"
    record = at.stream.model_copy(update={"on_data_loss": "record"})
    at = dataclasses.replace(at, stream=record)
    begun = prepared(at, monkeypatch, removed, rewind_to={"back": 1})
    assert begun.restart
    assert (begun.restart.offsets, offsets(at)) == ({0: 4}, [0, 1, 2, 3])
    new = begun.ingest.checkpoint
    assert (new.generation, new.id(), at.checkpoint.id()) == (1, None, 0xC1)


def test_start_restore_during_a_batch_is_refused(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = ingest_in(spark, tmp_path, "overtaken")
    stream = prepared(at, monkeypatch)
    write(stream, 0, 2)

    def restored_meanwhile(writer: BatchWriter, *_: Any) -> None:
        spark.sql(f"RESTORE TABLE {writer.table} TO VERSION AS OF 0")

    with monkeypatch.context() as patch:
        patch.setattr(BatchWriter, "require_few_quarantined", restored_meanwhile)
        write(stream, 1, 4)
    assert offsets(at) == [2, 3]
    with pytest.raises(
        CheckpointMismatchError, match=r"was changed by RESTORE to version 0 .* while it was"
    ):
        write(stream, 2, 6)
    with pytest.raises(CheckpointMismatchError) as stopped:
        prepared(at, monkeypatch)
    assert "before its last batch, and batch 0 is no longer in it" in str(stopped.value)
    assert "--rewind-to overtaken=0 reads again from batch 0 on" in str(stopped.value)


@pytest.mark.parametrize(
    ("step", "way"),
    [
        ("fence", "rewind_to"),
        pytest.param("begin", "", marks=pytest.mark.soak),
        pytest.param("begin", "accept_data_loss", marks=pytest.mark.soak),
        pytest.param("finish", "", marks=pytest.mark.soak),
    ],
)
def test_recovery_killed_at_a_step_can_be_repeated(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, way: str
) -> None:
    """After `fence` the option must be used again; after a later step the next run finishes it.

    Or another option is used, which also deletes what the first one was to delete.
    """
    name = f"killed_{step}_{way}"
    at = ingest_in(spark, tmp_path, name)
    stalled = prepared(at, monkeypatch)
    write(stalled, 0, 4)
    write(stalled, 1, 8)
    done = getattr(Recovery, step)

    def kill(recovery: Recovery, *given: Any) -> None:
        done(recovery, *given)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Recovery, step, kill)
        with pytest.raises(KeyboardInterrupt):
            prepared(at, monkeypatch, rewind_to={name: 1})
    with pytest.raises(CheckpointMismatchError, match="stale run"):
        write(stalled, 2, 12)
    if step == "fence":
        with pytest.raises(
            CheckpointMismatchError, match=r"--rewind-to was begun in .* Use the option again\."
        ):
            prepared(at, monkeypatch)
    ways = {
        "": {},
        "rewind_to": {"rewind_to": {name: 1}},
        "accept_data_loss": {"accept_data_loss": (name,)},
    }
    anew = prepared(at, monkeypatch, **ways[way])
    assert anew.ingest.checkpoint.generation == (2 if way == "accept_data_loss" else 1)
    write(anew, 0, 9, checkpoint="c2")
    write(prepared(at, monkeypatch), 1, 12, checkpoint="c2")
    assert offsets(at) == list(range(12))
    at.batch_log.update(no_cause)
    counts = at.batch_log.reconcile().total
    assert (counts.offsets, counts.valid) == (12, 12)
    assert sorted(at.batch_log.checkpoints()) == [0xC1, 0xC2]


def test_batch_removed_checkpoint_is_refused(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = ingest_in(spark, tmp_path, "removed")
    write(prepared(at, monkeypatch), 0, 4)
    writer = prepared(at, monkeypatch).writer()
    shutil.rmtree(at.checkpoint.path)
    with pytest.raises(
        CheckpointMismatchError, match=r"checkpoints/removed/0 was removed while it"
    ):
        writer(messages(at, [(4, valid_value(4))]), 1)
    assert offsets(at) == [0, 1, 2, 3]


def hold_for_done(at: PreparedStream, batch: int, end: int) -> None:
    """Marks a batch as done that is in no table, as if table and log were older copies."""
    plan(at, batch, end)
    done = Path(at.ingest.checkpoint.path, "commits", str(batch))
    done.parent.mkdir(exist_ok=True)
    done.write_text("v1\n{}")


@pytest.mark.soak
@pytest.mark.parametrize("killed", [False, pytest.param(True, marks=pytest.mark.soak)])
def test_accepted_loss_of_batches_in_no_table_becomes_a_gap(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, killed: bool
) -> None:
    name = f"ahead_{killed}".lower()
    at = ingest_in(spark, tmp_path, name)
    stream = prepared(at, monkeypatch)
    write(stream, 0, 10)
    for batch, end in ((1, 14), (2, 20)):
        hold_for_done(stream, batch, end)
    with pytest.raises(
        CheckpointMismatchError, match=r"marks batch 2 as done: the table is an older copy"
    ):
        prepared(at, monkeypatch)
    if killed:
        with monkeypatch.context() as patch:
            patch.setattr(Recovery, "finish", lambda *_: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                prepared(at, monkeypatch, accept_data_loss=(name,))
        anew = prepared(at, monkeypatch)
    else:
        anew = prepared(at, monkeypatch, accept_data_loss=(name,))
    write(anew, 0, 25, checkpoint="c2")
    for rebuild in (False, True):  # and each time again
        at.batch_log.update(no_cause, rebuild=rebuild)
        counts = at.batch_log.reconcile(no_cause, rebuild=rebuild).total
        assert (counts.offsets, counts.valid, counts.gaps) == (25, 15, 10)
    assert at.batch_log.gaps() == {"accepted": 10}
    prepared(at, monkeypatch)
    write(anew, 1, 30, checkpoint="c2")
    logged = at.lakehouse.name(at.batch_log.table)
    spark.sql(f"DELETE FROM {logged} WHERE checkpoint_id = {0xC1} AND batch_id > 0")
    with pytest.raises(ReconciliationError, match=r"begins at offset 20, .* before it ended at 10"):
        at.batch_log.update(no_cause)


@pytest.mark.soak
def test_accepted_loss_of_the_first_batches_becomes_a_gap(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = ingest_in(spark, tmp_path, "first_lost")
    stream = prepared(at, monkeypatch)
    hold_for_done(stream, 0, 10)
    anew = prepared(at, monkeypatch, accept_data_loss=("first_lost",))
    write(anew, 0, 25, checkpoint="c2")
    assert at.batch_log.reconcile(no_cause).total.offsets == 25
    assert at.batch_log.gaps() == {"accepted": 10}
    back = prepared(at, monkeypatch, rewind_to={"first_lost": 0})
    assert back.restart
    assert back.restart.offsets == {0: 10}
