"""From Kafka's messages to the rows of a stream's bronze table, good and bad together."""

import json
from base64 import b64decode
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from matchlake.ingest.checks import check_columns
from matchlake.ingest.columns import GOOD, QUARANTINED, RAW, RESCUED
from matchlake.ingest.convert import places_among
from matchlake.ingest.decoders import schema_id
from matchlake.ingest.params import StreamParams
from matchlake.ingest.readers import reader_of
from matchlake.ingest.reasons import Finding
from matchlake.ingest.tables import stream_table

MESSAGE = ("key", "value", "headers", "partition", "offset", "timestamp")
"""The columns of a message that a row is made of."""
_RAW = pa.struct(
    {
        "key": pa.binary(),
        "value": pa.binary(),
        "headers": pa.list_(pa.struct({"key": pa.string(), "value": pa.binary()})),
    }
)
_READ_FROM = ("checkpoint_id", "batch_id")


def parse_messages(
    messages: DataFrame,
    stream: StreamParams,
    passing: Sequence[str] = (),
    batch: tuple[int, int] | None = None,
) -> DataFrame:
    """One row a message, as `stream_table(stream)` has it; lazy, no shuffle.

    Reads key, value (binary), headers, partition, offset and timestamp. checkpoint_id and
    batch_id are those of `batch`, or else there only where they are among the columns `passing`
    through.
    """
    table = stream_table(stream)
    # What is the same in every row need not travel to Python and back.
    same = {
        "topic": F.lit(stream.topic),
        "schema_version": F.lit(stream.schema_version),
        "attempt": F.lit(1),
    }
    if stream.format == "confluent_avro":
        del same["schema_version"]
    number = None
    if batch:
        # The number comes from Python: as a literal it would stand in the code that Spark makes
        # of the plan, and have it compiled and warmed up anew for each batch.
        same["checkpoint_id"], number = F.lit(batch[0]).cast("bigint"), batch[1]
    absent = {name for name in _READ_FROM if not batch and name not in passing}
    columns = [column for column in table.columns if column.name not in absent]
    travelling = replace(table, columns=tuple(c for c in columns if c.name not in same))
    # Nor may a list: Spark asks each row on its way for the size of its columns, 5 us for a list.
    sent = messages.select(*MESSAGE, *passing).withColumn("headers", F.to_json("headers"))
    if _is_ended(stream):
        sent = sent.withColumn("value", F.concat("value", F.lit(b"\n")))
    rows = sent.mapInArrow(
        partial(parse_batches, stream=stream, passing=passing, number=number), travelling.struct()
    )
    return rows.withColumns(same).select([column.name for column in columns])


def _is_ended(stream: StreamParams) -> bool:
    """Whether values travel with a newline behind them: then Arrow reads them as they lie."""
    return stream.format == "json"


def parse_batches(
    batches: Iterable[pa.RecordBatch],
    stream: StreamParams,
    passing: Sequence[str] = (),
    number: int | None = None,
) -> Iterator[pa.RecordBatch]:
    """The rows of `parse_messages`, without what is the same in all, batch by batch.

    `value` is the message's, for JSON with a newline behind it, and `headers` is JSON text.
    """
    reader = reader_of(stream)
    for batch in batches:
        values = batch.column("value")
        found, findings = reader.read(values)
        columns = check_columns(
            stream.columns,
            found,
            findings,
            lambda row, name: reader.why_null(values, row, name),  # noqa: B023
        )
        if stream.undeclared == "rescue":
            kept = {row: text for row, text in reader.rescued.items() if row not in findings}
            texts = pa.array(map(kept.get, range(batch.num_rows)), pa.string())
            columns[RESCUED.name] = texts
        rows = _rows(batch, columns, findings, ended=_is_ended(stream))
        if stream.format == "confluent_avro":
            rows["schema_version"] = pa.array(map(schema_id, values.to_pylist()), pa.int32())
        if number is not None:
            rows["batch_id"] = pa.array(np.full(batch.num_rows, number, np.int64))
        yield pa.RecordBatch.from_pydict(rows | {name: batch.column(name) for name in passing})


def _rows(
    batch: pa.RecordBatch,
    columns: dict[str, pa.Array],
    findings: dict[int, Finding],
    *,
    ended: bool,
) -> dict[str, pa.Array]:
    lengths = pc.binary_length(batch.column("value")).cast(pa.int32())
    return {
        "status": _status(findings, batch.num_rows),
        **columns,
        "partition": batch.column("partition"),
        "offset": batch.column("offset"),
        "kafka_timestamp": batch.column("timestamp"),
        **refusals(findings, batch.num_rows),
        RAW.name: _raw(batch, findings, ended=ended),
        "value_bytes": pc.subtract(lengths, pa.scalar(1, pa.int32())) if ended else lengths,
    }


def _status(findings: dict[int, Finding], count: int) -> pa.Array:
    if not findings:
        return pa.repeat(GOOD, count)
    bad = np.zeros(count, bool)
    bad[list(findings)] = True
    return pc.if_else(pa.array(bad), QUARANTINED, GOOD)


def _raw(batch: pa.RecordBatch, findings: dict[int, Finding], *, ended: bool) -> pa.Array:
    """Key, value and headers of the messages that have a finding; null for the others."""
    if not findings:
        return pa.nulls(batch.num_rows, _RAW)
    rows = sorted(findings)
    bad = batch.select(["key", "value", "headers"]).take(pa.array(rows, pa.int64()))
    headers = [text and _headers(text) for text in bad.column("headers").to_pylist()]
    value = pc.binary_slice(bad.column("value"), 0, -1) if ended else bad.column("value")
    parts = [bad.column("key"), value, pa.array(headers, _RAW.field("headers").type)]
    raw = pa.StructArray.from_arrays(parts, fields=list(_RAW))
    return raw.take(places_among(rows, batch.num_rows))


def _headers(text: str) -> list[dict[str, Any]]:
    """Headers as Spark writes them as JSON: their bytes as Base64."""
    return [
        {"key": each.get("key"), "value": None if value is None else b64decode(value)}
        for each in json.loads(text)
        for value in [each.get("value")]
    ]


def refusals(findings: dict[int, Finding], count: int) -> dict[str, pa.Array]:
    """The columns reason and detail of `count` rows, null where there is no finding."""
    if not findings:
        return {name: pa.nulls(count, pa.string()) for name in ("reason", "detail")}
    rows = sorted(findings)
    indices = places_among(rows, count)
    return {
        name: pa.array([str(findings[row][part]) for row in rows], pa.string()).take(indices)
        for part, name in enumerate(("reason", "detail"))
    }
