"""Turns Kafka messages into the rows of a bronze table, valid and quarantined."""

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
from matchlake.ingest.parse.decoders import schema_id
from matchlake.ingest.parse.readers import make_reader
from matchlake.ingest.parse.validation import check_columns, error_arrays
from matchlake.ingest.schema import (
    BATCH,
    ERROR_CODE,
    ERROR_COLUMNS,
    QUARANTINED,
    RAW,
    RESCUED,
    STATUS,
    VALID,
)
from matchlake.ingest.tables import stream_columns, stream_table
from matchlake.schemas import quote_identifier, quote_text

MESSAGE = ("key", "value", "headers", "partition", "offset", "timestamp")
"""The columns of a message that become a row."""
_READ_FROM = ("checkpoint_id", "batch_id")
_READ = "_read"
_arrow_udf = getattr(F, "arrow_udf", None)
"""None before Spark 4.1."""


def parse_messages(
    messages: DataFrame,
    stream: StreamParams,
    passing: Sequence[str] = (),
    batch: tuple[int, int] | None = None,
) -> DataFrame:
    """One row per message, with the columns of `stream_table(stream)`. Lazy, no shuffle.

    Reads key, value (binary), headers, partition, offset and timestamp. The columns of
    `passing` are kept. `batch` gives checkpoint_id and batch_id. Without `batch` the result has
    these two columns only if `passing` names them.
    """
    fields = _fields(stream, numbered=batch is not None)
    rows = _read(messages.select(*MESSAGE, *passing), stream, fields, batch and batch[1])
    # SQL text, because Column objects need 780 calls from Python to the JVM per batch.
    expressions = {
        STATUS.name: f"IF({_READ}.{ERROR_CODE.name} IS NULL, '{VALID}', '{QUARANTINED}')",
        "topic": quote_text(stream.topic),
        "kafka_timestamp": "`timestamp`",
        RAW.name: f"IF({_READ}.{ERROR_CODE.name} IS NULL, NULL, struct(key, value, headers))",
        "value_bytes": "length(value)",
        "schema_version": str(stream.schema_version),
        "attempt": "1",
        **{name: f"{_READ}.{quote_identifier(name)}" for name in fields.names},
    }
    if batch:
        expressions["checkpoint_id"] = f"CAST({batch[0]:d} AS BIGINT)"
    absent = {name for name in _READ_FROM if not batch and name not in passing}
    names = [name for name in stream_table(stream).column_names if name not in absent]
    quoted = {name: quote_identifier(name) for name in names}
    return rows.selectExpr(
        *(f"{expressions.get(name, as_is)} AS {as_is}" for name, as_is in quoted.items())
    )


def _fields(stream: StreamParams, *, numbered: bool) -> StructType:
    """The columns that Python computes, as one struct `_read` per message."""
    names = {"schema_version"} if stream.format_entry.names_schema else set()
    if numbered:
        # Not a literal: it would change with each batch, and Spark would compile new code.
        names.add("batch_id")
    columns = (*stream_columns(stream), *ERROR_COLUMNS, *(c for c in BATCH if c.name in names))
    # The columns have no comments: with comments the schema would differ from that of Python.
    fields = (f"{quote_identifier(column.name)} {column.type}" for column in columns)
    return cast("StructType", StructType.fromDDL(", ".join(fields)))


def _read(
    messages: DataFrame, stream: StreamParams, fields: StructType, number: int | None
) -> DataFrame:
    """The messages with the column `_read`.

    Spark computes the size of each column of a row that it sends to Python. This takes as long as
    the transfer. With Arrow functions only the value is sent. Without Arrow functions whole rows
    are sent. Headers are then JSON, because the size of a list takes 5 us.
    """

    def read_all(values: Iterator[pa.Array]) -> Iterator[pa.Array]:
        return read_values(values, stream, number)

    def add_read(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        batches, copies = tee(batches)
        read = read_all(batch.column("value") for batch in copies)
        for batch, one in zip(batches, read, strict=True):
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
    """Whether a newline is added to each value, so that Arrow reads a batch without a copy."""
    return stream.format_entry.decoder is None


def read_values(
    batches: Iterable[pa.Array], stream: StreamParams, number: int | None = None
) -> Iterator[pa.StructArray]:
    """The declared columns, `_error_code` and `_error_message` of each value, array by array.

    The columns `_rescued_data` and the schema id follow if the stream has them, and batch_id if
    `number` is given. JSON values must end with a newline.
    """
    reader = make_reader(
        stream.format, stream.format_options, stream.columns, stream.unknown_fields
    )
    _spare_imports()
    for values in batches:
        count = len(values)
        fields, rejections = reader.read(values)
        columns = check_columns(
            stream.columns,
            fields,
            rejections,
            lambda row, name: reader.why_null(values, row, name),  # noqa: B023
        )
        if stream.unknown_fields == "rescue":
            rescued = {row: text for row, text in reader.rescued.items() if row not in rejections}
            columns[RESCUED.name] = pa.array(map(rescued.get, range(count)), pa.string())
        columns |= error_arrays(rejections, count)
        if stream.format_entry.names_schema:
            columns["schema_version"] = pa.array(map(schema_id, values.to_pylist()), pa.int32())
        if number is not None:
            columns["batch_id"] = pa.array(np.full(count, number, np.int64))
        yield pa.StructArray.from_arrays(list(columns.values()), names=list(columns))


@cache
def _spare_imports() -> None:
    """Excludes all present objects from garbage collection, once per process.

    Spark collects garbage after each task, which takes 30 ms with all imported modules.
    """
    gc.freeze()
