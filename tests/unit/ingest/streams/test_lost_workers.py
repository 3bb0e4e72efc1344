"""How often a batch is tried when the process that decodes it ends."""

from contextlib import nullcontext
from typing import Any, cast

import pytest
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame

from matchlake.ingest.streams import batch_writer
from matchlake.ingest.streams.batch_writer import BatchWriter

LOST = "org.apache.spark.SparkException: Python worker exited unexpectedly"


@pytest.mark.parametrize(
    ("errors", "tries"),
    [
        ([], [False]),
        ([LOST], [False, False]),
        ([LOST, LOST], [False, False, True]),
        ([LOST, LOST, LOST], [False, False, True]),
        (["java.io.IOException: No space left on device"], [False]),
        ([LOST, "the registry does not answer"], [False, False]),
    ],
)
def test_write_messages_is_guarded_after_two_lost_processes(
    monkeypatch: pytest.MonkeyPatch, errors: list[str], tries: list[bool]
) -> None:
    waiting, tried = list(errors), []

    def parse(*_: Any, guarded: bool, **__: Any) -> None:
        tried.append(guarded)

    def write(*_: Any) -> None:
        if waiting:
            raise PySparkException(waiting.pop(0))

    monkeypatch.setattr(batch_writer, "parse_messages", parse)
    monkeypatch.setattr(BatchWriter, "require_few_quarantined", lambda *_: None)
    monkeypatch.setattr(BatchWriter, "require_not_fenced", lambda *_: None)
    monkeypatch.setattr(BatchWriter, "write", write)
    monkeypatch.setattr(batch_writer, "require_obeyed", lambda *_: None)
    messages = cast("DataFrame", type("Messages", (), {"sparkSession": None})())
    stream = type("Stream", (), {"rules": {}})()
    writer = BatchWriter("t", cast("Any", stream), "there", 1, {"stream": "s", "generation": 1}, 4)
    fails = len(errors) == len(tries)
    with pytest.raises(PySparkException, match=errors[-1][-20:]) if fails else nullcontext():
        writer.write_messages(messages, {"checkpoint": 1, "batch": 0})
    assert tried == tries
