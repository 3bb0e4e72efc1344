"""The ways out of a stream's trouble, and what they refuse before they change anything."""

import dataclasses
from pathlib import Path

import pytest
from pyspark.sql import SparkSession
from tests.support.committed import TOPIC, ingest_in, offsets, prepared, write

from matchlake.errors import ConfigError, IdentityError, SourceError


def test_rows_that_kafka_cannot_give_again_are_not_taken_out(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = ingest_in(spark, tmp_path, "back")
    first = prepared(at, monkeypatch)
    write(first, 0, 4)
    write(first, 1, 8)
    recovery = dataclasses.replace(first.recovery, standing=first.recovery.identity.look())
    with pytest.raises(SourceError, match=r"partition 0: 4 to 7, held: 5 to 99"):
        recovery.rewind_to(1, TOPIC._replace(earliest={0: 5}))
    with pytest.raises(SourceError, match=r"partition 0: 0 to 7, held: 0 to 5"):
        recovery.rewind_to(0, TOPIC._replace(latest={0: 6}))
    remade = TOPIC._replace(id="t2")
    for way in (lambda: recovery.rewind_to(1, remade), lambda: recovery.adopt(remade)):
        with pytest.raises(IdentityError, match=r"made anew since .* --new-identity back reads"):
            way()
    far = dataclasses.replace(at.checkpoint, path=f"file:{at.checkpoint.path}")
    with pytest.raises(ConfigError, match="has to be moved away first"):
        prepared(dataclasses.replace(at, checkpoint=far), monkeypatch, rewind_to={"back": 1})

    spark.sql(f"DELETE FROM {at.lakehouse.name(at.stream.table)} WHERE offset IN (4, 5)")
    removed = TOPIC._replace(earliest={0: 5})
    with pytest.raises(SourceError, match=r"partition 0: offset 4\). Nothing was read"):
        prepared(at, monkeypatch, removed, rewind_to={"back": 1})
    assert (offsets(at), at.checkpoint.id()) == ([0, 1, 2, 3, 6, 7], "c1"), "nothing was changed"
    record = at.stream.model_copy(update={"on_data_loss": "record"})
    at = dataclasses.replace(at, stream=record)
    begun = prepared(at, monkeypatch, removed, rewind_to={"back": 1}).beginning
    assert begun
    assert (begun.offsets, offsets(at), at.checkpoint.id()) == ({0: 4}, [0, 1, 2, 3], None)
