"""Records that end the Python process of their task: quarantined, and all others are loaded."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pyarrow as pa
import pytest
from pyspark.sql import SparkSession
from tests.support.committed import ingest_in, offsets, prepared, write

from matchlake.ingest.params import StreamParams
from matchlake.ingest.streams import messages
from matchlake.ingest.streams.gaps import no_cause


@pytest.fixture
def deadly(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reader of JSON ends its process at a value with the word `kill`."""

    def read(
        batches: Iterator[pa.Array], stream: StreamParams, number: int | None, *, guarded: bool
    ) -> Iterator[Any]:
        # Nested, and with its own imports, because it runs in the processes of the tasks.
        from matchlake.ingest.parse.readers import _BatchJsonReader  # noqa: PLC0415
        from matchlake.ingest.streams.messages import read_values  # noqa: PLC0415

        plain = _BatchJsonReader.read

        def kill(reader: Any, values: pa.Array) -> Any:
            if any(value and b"kill" in value for value in values.to_pylist()):
                os.kill(os.getpid(), signal.SIGSEGV)
            return plain(reader, values)

        with patch.object(_BatchJsonReader, "read", kill):
            yield from read_values(batches, stream, number, guarded=guarded)

    monkeypatch.setattr(messages, "read_values", read)


@pytest.mark.usefixtures("deadly")
def test_batch_records_that_kill_are_quarantined_and_the_others_written(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = ingest_in(spark, tmp_path, "killers")
    stream = prepared(at, monkeypatch)
    bad = {1: b'{"kill":1}', 2: b"{", 5: b"kill"}
    write(stream, 0, 6, bad=bad)
    write(stream, 1, 8)
    assert offsets(at) == list(range(8))
    rows = at.lakehouse.read(at.stream.table).where("_status = 'quarantined'").orderBy("offset")
    assert [(row.offset, row["_error_code"], row.raw.value) for row in rows.collect()] == [
        (1, "kills_reader", bad[1]),
        (2, "malformed_json", b"{"),
        (5, "kills_reader", b"kill"),
    ]
    at.batch_log.update(no_cause)
    assert at.batch_log.reconcile().total.offsets == 8
