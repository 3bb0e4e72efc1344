"""A stale run, and every other way in which a batch would be lost or doubled without a word."""

from pathlib import Path

import pytest
from pyspark.sql import SparkSession
from tests.support.committed import ingest_in, offsets, prepared, write

from matchlake.errors import IdentityError, ReconciliationError
from matchlake.io.gaps import no_reason


def test_a_stale_run_is_refused_and_nothing_is_lost_or_doubled(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = ingest_in(spark, tmp_path, "stale")
    stalled = prepared(at, monkeypatch)
    for batch in range(3):
        write(stalled, batch, 10 * batch + 10)
    anew = prepared(at, monkeypatch, rewind_to={"stale": 1})
    write(anew, 0, 15, checkpoint="c2")

    with pytest.raises(IdentityError, match="stale run"):
        write(stalled, 3, 40)
    for batch, end in enumerate((20, 30, 45, 54), start=1):
        write(anew, batch, end, checkpoint="c2")
    assert offsets(at) == list(range(54)), "0 lost, 0 doubled"
    at.ledger.update(no_reason)
    assert at.ledger.reconcile().offsets == 54


def test_the_default_account_finds_batches_that_do_not_link_up(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Batch 2 begins at 45, where batch 1 has ended at 20: 25 records are in no batch."""
    at = ingest_in(spark, tmp_path, "unlinked")
    stream = prepared(at, monkeypatch)
    write(stream, 0, 10)
    write(stream, 1, 20)
    logged = Path(stream.ingest.checkpoint.path) / "offsets/1"
    logged.write_text(logged.read_text().replace("20", "45"))
    monkeypatch.setattr("matchlake.io.batches.BatchWriter.is_next", lambda *_: True, raising=False)
    write(stream, 2, 54)
    for _ in range(2):  # and each time again
        with pytest.raises(ReconciliationError, match="batch 2 .* begins at offset 45, .* at 20"):
            at.ledger.update(no_reason)
