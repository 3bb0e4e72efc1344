"""What a batch writer takes for the next batch, by the newest commit of its generation alone."""

from datetime import UTC, datetime
from typing import Any, cast

import pytest

from matchlake.errors import CheckpointMismatchError
from matchlake.ingest.params import StreamParams
from matchlake.ingest.streams.batch_writer import BatchWriter
from matchlake.ingest.streams.checkpoint import Checkpoint, Ranges
from matchlake.ingest.streams.commits import Commit

OWN = 0xC1


def writer(**keys: Any) -> BatchWriter:
    stream = cast("StreamParams", None)
    return BatchWriter("t", stream, "there", 1, {"stream": "s", "generation": 1}, 4, **keys)


def commit(batch: int | None, **offsets: list[int]) -> Commit:
    metadata = {"stream": "s", "generation": 1, "offsets": {k[1:]: v for k, v in offsets.items()}}
    metadata |= (
        {"restart": "accept-data-loss"} if batch is None else {"batch": batch, "checkpoint": OWN}
    )
    return Commit(7, datetime(2024, 5, 1, tzinfo=UTC), "WRITE", {}, 10, metadata)


@pytest.mark.parametrize(
    ("last", "batch", "plan"),
    [
        (None, 0, {0: (30, 40)}),  # the very first
        (commit(None, p0=[30, 30]), 0, {0: (30, 40)}),  # the first after a restart
        (commit(None, p0=[30, 30]), 0, {0: (30, 40), 1: (9, 12)}),  # a partition came meanwhile
        (commit(None), 0, {0: (30, 40)}),  # that begins at whatever the broker holds
        (commit(4, p0=[30, 40]), 5, {0: (40, 45)}),
        (commit(4, p0=[30, 40], p1=[1, 2]), 5, {0: (40, 45), 1: (2, 2)}),  # 1 has no new data
        (commit(4, p0=[40, 40]), 5, {0: (40, 40)}),  # empty batches
        (commit(4, p0=[30, 40]), 5, {0: (40, 45), 1: (0, 7)}),  # a partition that is new
    ],
)
def test_a_batch_that_goes_on_where_the_last_one_ended_is_next(
    last: Commit | None, batch: int, plan: Ranges
) -> None:
    assert writer().is_next(last, OWN, batch, plan)


def test_a_repeated_batch_is_known_to_be_written() -> None:
    last = commit(4, p0=[30, 40], p1=[0, 0])
    assert not writer().is_next(last, OWN, 4, {0: (30, 40), 1: (0, 0)})
    assert writer(first_batch=6).is_next(None, OWN, 6, {0: (30, 40)}), "the history was cleaned up"


@pytest.mark.parametrize(
    ("last", "batch", "plan", "told"),
    [
        (commit(4, p0=[30, 40]), 5, {}, "has no offsets for it"),
        (commit(4, p0=[30, 40]), 5, {0: (45, 54)}, "begins at offset 45, .* ended at 40"),
        (commit(4, p0=[30, 40]), 5, {0: (39, 54)}, "begins at offset 39, .* ended at 40"),
        (commit(4, p0=[30, 40], p1=[0, 3]), 5, {0: (40, 54)}, "leaves out partition 1"),
        (commit(4, p0=[30, 40]), 5, {0: (40, 54), 1: (2, 3)}, "partition 1 is new, but begins"),
        (
            commit(4, p0=[30, 40]),
            6,
            {0: (40, 54)},
            "is batch 4, so Delta skipped batch 5",
        ),
        (commit(4, p0=[30, 40]), 3, {0: (20, 30)}, "is batch 4: another run of this stream"),
        (commit(4, p0=[30, 40]), 4, {0: (30, 41)}, "already is batch 4, with other offsets"),
        (commit(None, p0=[30, 30]), 0, {0: (20, 40)}, "begins at offset 20, .* ended at 30"),
        (commit(None, p0=[30, 30]), 3, {0: (30, 40)}, "batch 0 comes next"),
        (None, 1, {0: (10, 20)}, "t has no trace of batch 0"),
    ],
)
def test_any_other_batch_is_refused(
    last: Commit | None, batch: int, plan: Ranges, told: str
) -> None:
    with pytest.raises(
        CheckpointMismatchError, match=f"s: batch {batch} of .* generation 1 .*{told}"
    ):
        writer().is_next(last, OWN, batch, plan)


def test_a_writer_keeps_the_checkpoint_that_it_had_first(monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint = Checkpoint(cast("Any", None), "there", "s", 1)
    known, new = writer(checkpoint_id=OWN), writer()
    monkeypatch.setattr(Checkpoint, "id", lambda _: OWN)
    assert known.require_own(checkpoint) == new.require_own(checkpoint) == OWN
    monkeypatch.setattr(Checkpoint, "id", lambda _: 0xC2)
    for each in (known, new):
        with pytest.raises(
            CheckpointMismatchError, match=r"there/1 is 194, but this run began with 193"
        ):
            each.require_own(checkpoint)
