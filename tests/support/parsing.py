"""Parses values as a stream's messages, without Spark."""

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from matchlake.ingest.params import StreamParams
from matchlake.ingest.records import parse_batches


def parsed(values: Sequence[bytes | None], stream: StreamParams) -> list[dict[str, Any]]:
    """The rows of one batch; there is exactly one at each offset, or the test fails."""
    count, end = len(values), b"\n" if stream.format == "json" else b""
    batch = pa.RecordBatch.from_pydict(
        {
            "key": pa.array([b"k"] * count, pa.binary()),
            "value": pa.array([v if v is None else v + end for v in values], pa.binary()),
            "headers": pa.nulls(count, pa.string()),
            "partition": pa.array([0] * count, pa.int32()),
            "offset": pa.array(range(count), pa.int64()),
            "timestamp": pa.array([0] * count, pa.timestamp("us", "UTC")),
        }
    )
    (found,) = parse_batches([batch], stream)
    rows: list[dict[str, Any]] = found.to_pylist()
    assert [row["offset"] for row in rows] == list(range(count))
    return rows
