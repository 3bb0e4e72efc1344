"""Every codec of Kafka can be read: producers choose it, and offset checks read their records."""

from collections.abc import Callable

import kafka.codec
import pytest
from kafka.record.memory_records import MemoryRecords, MemoryRecordsBuilder

CODECS = {0: "none", 1: "gzip", 2: "snappy", 3: "lz4", 4: "zstd"}
"""The number of each codec in a batch of Kafka."""
_VALUE = bytes(range(256)) * 4096
"""A value of 1 MiB, the size to which some readers of zstd are limited."""


@pytest.mark.parametrize("number", CODECS)
def test_a_batch_can_be_read(number: int) -> None:
    builder = MemoryRecordsBuilder(2, number, len(_VALUE) * 4)
    for at in range(3):
        builder.append(timestamp=at, key=b"k", value=_VALUE, headers=[])
    builder.close()
    (batch,) = iter(_batches(builder))
    assert [(each.timestamp, each.value) for each in batch] == [(at, _VALUE) for at in range(3)]


@pytest.mark.parametrize("name", ["gzip", "snappy", "lz4", "zstd"])
def test_the_library_is_installed(name: str) -> None:
    has: Callable[[], bool] = getattr(kafka.codec, f"has_{name}")
    assert has(), name


def _batches(builder: MemoryRecordsBuilder) -> list[list[object]]:
    records, batches = MemoryRecords(builder.buffer()), []
    while records.has_next():
        batches.append(list(records.next_batch()))
    return batches
