"""From Kafka's messages to the rows of a stream's bronze table, good and bad together."""

import gc
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from itertools import tee
from typing import cast

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import StructField, StructType

from matchlake.ingest.params import StreamParams
from matchlake.ingest.parse.casts import places_among
from matchlake.ingest.parse.decoders import schema_id
from matchlake.ingest.parse.readers import reader_of
from matchlake.ingest.parse.validation import check_columns
from matchlake.ingest.reasons import Finding
from matchlake.ingest.schema import BATCH, GOOD, QUARANTINED, RAW, REFUSAL, RESCUED
from matchlake.ingest.tables import stream_columns, stream_table
from matchlake.schemas import quote_identifier, quote_text

MESSAGE = ("key", "value", "headers", "partition", "offset", "timestamp")
"""The columns of a message that a row is made of."""
_READ_FROM = ("checkpoint_id", "batch_id")
_READ = "_read"
_arrow_udf = getattr(F, "arrow_udf", None)
"""Spark has it from 4.1 on."""


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
    fields = _fields(stream, numbered=batch is not None)
    rows = _read(messages.select(*MESSAGE, *passing), stream, fields, batch and batch[1])
    # As SQL: column by column, Python asked the JVM 780 times for each batch.
    made = {
        "status": f"IF({_READ}.reason IS NULL, '{GOOD}', '{QUARANTINED}')",
        "topic": quote_text(stream.topic),
        "kafka_timestamp": "`timestamp`",
        RAW.name: f"IF({_READ}.reason IS NULL, NULL, struct(key, value, headers))",
        "value_bytes": "length(value)",
        "schema_version": str(stream.schema_version),
        "attempt": "1",
        **{name: f"{_READ}.{quote_identifier(name)}" for name in fields.names},
    }
    if batch:
        made["checkpoint_id"] = f"CAST({batch[0]:d} AS BIGINT)"
    absent = {name for name in _READ_FROM if not batch and name not in passing}
    names = [name for name in stream_table(stream).column_names if name not in absent]
    quoted = {name: quote_identifier(name) for name in names}
    return rows.selectExpr(
        *(f"{made.get(name, as_is)} AS {as_is}" for name, as_is in quoted.items())
    )


def _fields(stream: StreamParams, *, numbered: bool) -> StructType:
    """The columns that only Python can tell, of which each message gets one struct, `_read`."""
    told = {"schema_version"} if stream.format == "confluent_avro" else set()
    if numbered:
        # As a literal the batch's number would stand in the code that Spark makes of the plan, and
        # have it compiled and warmed up anew for each batch.
        told.add("batch_id")
    columns = (*stream_columns(stream), *REFUSAL, *(c for c in BATCH if c.name in told))
    # Without comments: with them it would be another type than that of what Python sends.
    bare = (f"{quote_identifier(column.name)} {column.type}" for column in columns)
    return cast("StructType", StructType.fromDDL(", ".join(bare)))


def _read(
    messages: DataFrame, stream: StreamParams, fields: StructType, number: int | None
) -> DataFrame:
    """The messages with `_read`.

    Spark asks each row on its way to Python for the size of its columns, which takes as long as
    sending them. Where it has Arrow functions, nothing but the value travels. Else whole rows do,
    with headers as JSON: to ask a list takes 5 us.
    """

    def read_all(values: Iterator[pa.Array]) -> Iterator[pa.Array]:
        return read_values(values, stream, number)

    def add_read(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        kept, given = tee(batches)
        read = read_all(batch.column("value") for batch in given)
        for batch, one in zip(kept, read, strict=True):
            yield batch.append_column(_READ, one)

    value = F.concat("value", F.lit(b"\n")) if _is_ended(stream) else F.col("value")
    if _arrow_udf:
        return messages.withColumn(_READ, _arrow_udf(read_all, fields)(value))
    sent = messages.withColumns({"value": value, "headers": F.to_json("headers")})
    rows = sent.mapInArrow(add_read, StructType([*sent.schema, StructField(_READ, fields)]))
    back = {"headers": F.from_json("headers", messages.schema["headers"].dataType.simpleString())}
    if _is_ended(stream):
        back["value"] = F.substring("value", F.lit(1), F.length("value") - 1)
    return rows.withColumns(back)


def _is_ended(stream: StreamParams) -> bool:
    """Whether values travel with a newline behind them: then Arrow reads them as they lie."""
    return stream.format == "json"


def read_values(
    batches: Iterable[pa.Array], stream: StreamParams, number: int | None = None
) -> Iterator[pa.StructArray]:
    """For each value the declared columns, reason and detail, array by array.

    Besides `rescued` and the schema's id, where the stream has them, and batch_id, where there is
    a `number`. A value is the message's, for JSON with a newline behind it.
    """
    reader = reader_of(stream)
    _spare_imports()
    for values in batches:
        count = len(values)
        found, findings = reader.read(values)
        columns = check_columns(
            stream.columns,
            found,
            findings,
            lambda row, name: reader.why_null(values, row, name),  # noqa: B023
        )
        if stream.undeclared == "rescue":
            kept = {row: text for row, text in reader.rescued.items() if row not in findings}
            columns[RESCUED.name] = pa.array(map(kept.get, range(count)), pa.string())
        columns |= refusals(findings, count)
        if stream.format == "confluent_avro":
            columns["schema_version"] = pa.array(map(schema_id, values.to_pylist()), pa.int32())
        if number is not None:
            columns["batch_id"] = pa.array(np.full(count, number, np.int64))
        yield pa.StructArray.from_arrays(list(columns.values()), names=list(columns))


@cache
def _spare_imports() -> None:
    """Once in a process: what is there by now is left out of the collection of garbage.

    Spark has a worker collect it after each task, which takes 30 ms with all that is imported.
    """
    gc.freeze()


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
