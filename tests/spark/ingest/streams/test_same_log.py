"""A log that was cut and has grown again, as an unclean leader election leaves it."""

from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession
from tests.support.committed import ingest_in, prepared, write
from tests.support.streams import valid_value

from matchlake.errors import CheckpointMismatchError, UnreachableError
from matchlake.ingest.streams import runner, same_log
from matchlake.ingest.streams.gaps import no_cause
from matchlake.io.kafka import RecordMark

AT = 1_714_557_600_000
"""The time of every record of `write`."""


def broker(monkeypatch: pytest.MonkeyPatch, **marks: RecordMark) -> list[dict[int, int]]:
    """A broker with that record at each offset that it is asked for; the questions."""
    asked: list[dict[int, int]] = []

    def records_at(_client: Any, _topic: str, offsets: dict[int, int]) -> dict[int, RecordMark]:
        asked.append(offsets)
        return {part: marks[f"p{part}"] for part in offsets if f"p{part}" in marks}

    monkeypatch.setattr(same_log, "records_at", records_at)
    return asked


@pytest.mark.soak
def test_start_and_turn_refuse_another_record_at_the_last_offset(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = ingest_in(spark, tmp_path, "cut")
    stream = prepared(at, monkeypatch)
    write(stream, 0, 4)
    write(stream, 1, 8)
    at.batch_log.update(no_cause)
    same = RecordMark(AT, len(valid_value(7, rating=1)))

    for record in (same, None):  # the record of the table, and one that compaction removed
        asked = broker(monkeypatch, **({"p0": record} if record else {}))
        at.prepare(runner.IngestParams())
        stream.require_same_topic()
        assert asked == [{0: 7}, {0: 7}]

    for other in (same._replace(timestamp=AT + 1), same._replace(size=1)):
        broker(monkeypatch, p0=other)
        with pytest.raises(
            CheckpointMismatchError, match=r"partition 0 of topic cut holds another record at offse"
        ) as refused:
            at.prepare(runner.IngestParams())
        assert "--rewind-to cut=2" in str(refused.value)
        with pytest.raises(CheckpointMismatchError, match=r"the broker lost the end.*Run the job"):
            stream.require_same_topic()

    begun = at.prepare(runner.IngestParams(accept_data_loss=("cut",)))
    write(begun, 0, 10, checkpoint="c2")
    begun.ingest.batch_log.update(no_cause)
    broker(monkeypatch, p0=RecordMark(AT, len(valid_value(9, rating=1))))
    at.prepare(runner.IngestParams())


@pytest.mark.soak
def test_turn_without_an_answer_is_checked_again(
    spark: SparkSession,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    at = ingest_in(spark, tmp_path, "silent")
    stream = prepared(at, monkeypatch)
    write(stream, 0, 4)
    at.batch_log.update(no_cause)

    def silent(*_: Any) -> None:
        raise UnreachableError("no answer")

    monkeypatch.setattr(same_log, "records_at", silent)
    stream.require_same_topic()
    assert "silent: the broker does not answer" in caplog.text
