"""Parses values as a stream's messages, without Spark."""

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from matchlake.ingest.params import StreamParams
from matchlake.ingest.streams.messages import read_values


def parsed(values: Sequence[bytes | None], stream: StreamParams) -> list[dict[str, Any]]:
    """What Python tells of one batch, with status; exactly one row a value, or the test fails."""
    end = b"\n" if stream.format == "json" else b""
    batch = pa.array([v if v is None else v + end for v in values], pa.binary())
    (found,) = read_values([batch], stream)
    rows: list[dict[str, Any]] = found.to_pylist()
    assert len(rows) == len(values)
    return [{**row, "_status": "quarantined" if row["_error_code"] else "valid"} for row in rows]
